//! A disk for tests: it fails at a chosen operation, and loses at a power loss what a real one may.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, RealDisk};

/// What happens to an operation instead of its success. What a failed sync was to make durable is in
/// doubt until it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends before it.
    Kill,
    /// The process ends behind it; of a write only the first half has happened.
    Torn,
    /// There is no room: half of a write, and nothing else that takes room.
    Full,
    /// The device fails: half of a write; a rename happens all the same.
    Io,
    /// The folder belongs to somebody else. Files that are open stay so.
    Denied,
    /// The file system takes no changes any more.
    ReadOnly,
}

impl Fault {
    pub const ALL: [Self; 6] =
        [Self::Kill, Self::Torn, Self::Full, Self::Io, Self::Denied, Self::ReadOnly];

    pub fn ends_the_process(self) -> bool {
        matches!(self, Self::Kill | Self::Torn)
    }

    /// Whether it can happen to the operation of this name.
    pub fn can_be_at(self, operation: &str) -> bool {
        let name = operation.rsplit('.').next();
        Kind::ALL.into_iter().any(|kind| Some(kind.name()) == name && self.can_hit(kind))
    }

    fn can_hit(self, kind: Kind) -> bool {
        match self {
            Self::Kill | Self::Torn | Self::Io | Self::ReadOnly => true,
            Self::Full => !matches!(kind, Kind::SetLen | Kind::Remove | Kind::Append),
            Self::Denied => !matches!(kind, Kind::Write | Kind::SetLen | Kind::Sync),
        }
    }

    fn error(self) -> io::Error {
        match self {
            Self::Kill | Self::Torn => io::Error::other("the process has ended"),
            Self::Full => io::ErrorKind::StorageFull.into(),
            // There is no stable kind for it: EIO of Linux.
            Self::Io => io::Error::from_raw_os_error(5),
            Self::Denied => io::ErrorKind::PermissionDenied.into(),
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Create,
    Append,
    Write,
    SetLen,
    Sync,
    Rename,
    Remove,
    CreateDir,
    SyncDir,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Create,
        Self::Append,
        Self::Write,
        Self::SetLen,
        Self::Sync,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
        Self::SyncDir,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Append => "open",
            Self::Write => "write",
            Self::SetLen => "truncate",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::CreateDir => "create-dir",
            Self::SyncDir => "sync-dir",
        }
    }
}

/// Real files below one folder, as the processes that run see them, and beside them in memory what
/// is durable and what is not yet. A process that ends leaves all of it to the next one; a power loss
/// leaves what was synced and any part of the rest.
///
/// Every operation has a number, from 0, and a name that says on what and which: `epochs.write`,
/// `journal/orders.sync`, `sinks/out.rename`.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    /// By path; folders are neither renamed nor removed.
    folders: BTreeMap<PathBuf, Folder>,
    operations: Vec<String>,
    planned: Option<Planned>,
    /// How many operations a fault has hit.
    hits: usize,
    /// The process has ended and knows nothing of it.
    is_dead: bool,
    /// How many processes there were: a file that an earlier one had open is closed.
    process: usize,
}

#[derive(Debug)]
struct Planned {
    fault: Fault,
    from: usize,
    times: usize,
}

/// A file, whatever its name.
#[derive(Debug, Default)]
struct Node {
    bytes: u64,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    edit: Edit,
    /// A sync of it has failed.
    is_doubtful: bool,
}

#[derive(Clone, Debug)]
enum Edit {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    File(usize),
    Folder,
}

/// A change of names that happens as a whole: two for a rename, else one.
type Change = Vec<(OsString, Option<Entry>)>;

#[derive(Debug, Default)]
struct Folder {
    now: BTreeMap<OsString, Entry>,
    durable: BTreeMap<OsString, Entry>,
    pending: Vec<Change>,
}

impl FaultyDisk {
    /// A disk whose files are below `root`, an empty folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let folders = BTreeMap::from([(root.clone(), Folder::default())]);
        let state = State { folders, ..State::default() };
        Self { root, state: Arc::new(Mutex::new(state)) }
    }

    /// From operation number `from` on, `fault` hits the first `times` operations that it can.
    pub fn plan(&self, fault: Fault, from: usize, times: usize) {
        self.state().planned = Some(Planned { fault, from, times });
    }

    /// The names of all operations so far.
    pub fn operations(&self) -> Vec<String> {
        self.state().operations.clone()
    }

    pub fn operation_count(&self) -> usize {
        self.state().operations.len()
    }

    /// How many operations were hit so far.
    pub fn hits(&self) -> usize {
        self.state().hits
    }

    /// Whether a planned fault has ended the process.
    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Ends the process, now.
    pub fn kill(&self) {
        self.state().is_dead = true;
    }

    /// Another process comes after the one that has ended; the machine went on. Nothing is planned
    /// for it yet. What a failed sync left in doubt is written out after all, as time goes by.
    pub fn restart(&self) {
        let mut state = self.state();
        let pending = state.nodes.iter_mut().flat_map(|node| &mut node.pending);
        pending.for_each(|pending| pending.is_doubtful = false);
        state.is_dead = false;
        state.process += 1;
        state.planned = None;
    }

    /// The same after a power loss. What becomes of each thing that was not durable is for `choose`,
    /// which is given a bound and returns a number below it.
    ///
    /// # Errors
    /// Whatever keeps the files from being put into that state.
    pub fn lose_power(&self, choose: &mut dyn FnMut(u64) -> u64) -> io::Result<()> {
        let mut state = self.state();
        let State { nodes, folders, .. } = &mut *state;
        folders.values_mut().for_each(|folder| folder.settle(choose));
        nodes.iter_mut().for_each(|node| node.settle(choose));
        let lost = folders.keys().filter(|path| !exists(folders, path, &self.root));
        let lost: Vec<PathBuf> = lost.cloned().collect();
        for path in lost {
            folders.remove(&path);
        }
        clear(&self.root)?;
        for (path, folder) in folders.iter() {
            fs::create_dir_all(path)?;
            for (name, entry) in &folder.now {
                if let Entry::File(node) = entry {
                    fs::write(path.join(name), &nodes[*node].durable)?;
                }
            }
        }
        drop(state);
        self.restart();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation. `Ok`: it happens, and what is said then is the second part.
    fn begin(&self, state: &mut State, kind: Kind, path: &Path) -> io::Result<Hit> {
        if state.is_dead {
            return Err(Fault::Kill.error());
        }
        let number = state.operations.len();
        state.operations.push(format!("{}.{}", self.name(path), kind.name()));
        let Some(planned) = &mut state.planned else { return Ok(None) };
        if number < planned.from || planned.times == 0 || !planned.fault.can_hit(kind) {
            return Ok(None);
        }
        planned.times -= 1;
        let fault = planned.fault;
        state.hits += 1;
        state.is_dead = fault.ends_the_process();
        let happens = match fault {
            Fault::Torn => true,
            Fault::Io => matches!(kind, Kind::Write | Kind::Rename | Kind::Sync),
            Fault::Full => matches!(kind, Kind::Write | Kind::Sync),
            Fault::ReadOnly => kind == Kind::Sync,
            Fault::Kill | Fault::Denied => false,
        };
        if happens { Ok(Some(fault)) } else { Err(fault.error()) }
    }

    /// What an operation is on: the path below the root without the numbers in it.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let text = below.to_string_lossy();
        let text = match text.strip_suffix(crate::fs::UNFINISHED) {
            Some(unfinished) => unfinished.rsplit_once('.').map_or(unfinished, |(name, _)| name),
            None => &text,
        };
        let text = match text.strip_suffix(".seg") {
            Some(segment) => segment.rsplit_once('/').map_or(segment, |(folder, _)| folder),
            None => text.strip_suffix(".log").or(text.strip_suffix(".json")).unwrap_or(text),
        };
        if text.is_empty() { ".".to_owned() } else { text.to_owned() }
    }
}

/// What is said of an operation that has happened: nothing, or the fault that hit it.
type Hit = Option<Fault>;

fn said(hit: Hit) -> io::Result<()> {
    hit.map_or(Ok(()), |fault| Err(fault.error()))
}

impl State {
    fn change(&mut self, path: &Path, names: Change) {
        let folder = self.folders.entry(path.to_owned()).or_default();
        for (name, entry) in &names {
            put(&mut folder.now, name, *entry);
        }
        folder.pending.push(names);
    }

    fn file(&self, path: &Path) -> Option<usize> {
        let (folder, name) = split(path);
        match self.folders.get(folder)?.now.get(&name)? {
            Entry::File(node) => Some(*node),
            Entry::Folder => None,
        }
    }
}

fn split(path: &Path) -> (&Path, OsString) {
    let folder = path.parent().unwrap_or(Path::new(""));
    (folder, path.file_name().unwrap_or_default().to_owned())
}

fn put(names: &mut BTreeMap<OsString, Entry>, name: &OsString, entry: Option<Entry>) {
    match entry {
        Some(entry) => names.insert(name.clone(), entry),
        None => names.remove(name),
    };
}

/// Whether `path` and the folders above it, up to `root`, are there.
fn exists(folders: &BTreeMap<PathBuf, Folder>, path: &Path, root: &Path) -> bool {
    if path == root {
        return true;
    }
    let (above, name) = split(path);
    let is_there = folders.get(above).is_some_and(|folder| folder.now.contains_key(&name));
    is_there && exists(folders, above, root)
}

/// Empties a folder, but for who holds it: that is a file of the operating system's process.
fn clear(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Folder {
    fn sync(&mut self) {
        self.pending.clear();
        self.durable = self.now.clone();
    }

    /// Each change that was not durable has happened or not, whatever became of the others.
    fn settle(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        for names in std::mem::take(&mut self.pending) {
            if choose(2) == 0 {
                names.iter().for_each(|(name, entry)| put(&mut self.durable, name, *entry));
            }
        }
        self.now = self.durable.clone();
    }
}

impl Node {
    fn edit(&mut self, edit: Edit) {
        self.bytes = match &edit {
            Edit::Write { offset, bytes } => self.bytes.max(offset + bytes.len() as u64),
            Edit::SetLen(bytes) => *bytes,
        };
        self.pending.push(Pending { edit, is_doubtful: false });
    }

    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for (i, Pending { edit, is_doubtful }) in pending.iter().enumerate() {
            if *is_doubtful && !pending[i + 1..].iter().any(|later| later.edit.replaces(edit)) {
                self.pending.push(Pending { edit: edit.clone(), is_doubtful: true });
            } else {
                apply(&mut self.durable, edit);
            }
        }
    }

    /// What was not durable is there up to some byte, or beyond that as zeros, or all of it.
    fn settle(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let whole = choose(pending.len() as u64 + 1) as usize;
            for Pending { edit, is_doubtful } in &pending[..whole] {
                if !is_doubtful || choose(2) == 0 {
                    apply(&mut self.durable, edit);
                }
            }
            if let Some(Pending { edit: Edit::Write { offset, bytes }, .. }) = pending.get(whole) {
                let mut torn = bytes[..choose(bytes.len() as u64 + 1) as usize].to_vec();
                if choose(4) == 0 {
                    torn.resize(bytes.len(), 0);
                }
                apply(&mut self.durable, &Edit::Write { offset: *offset, bytes: torn });
            }
        }
        self.bytes = self.durable.len() as u64;
    }
}

impl Edit {
    /// Whether nothing of `earlier` is left after this.
    fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::SetLen(bytes), Self::Write { offset, .. }) => bytes <= offset,
            (Self::SetLen(_), Self::SetLen(_)) => true,
            (Self::Write { .. }, _) => false,
        }
    }
}

fn apply(content: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Write { offset, bytes } => {
            let start = *offset as usize;
            let end = start + bytes.len();
            content.resize(content.len().max(end), 0);
            content[start..end].copy_from_slice(bytes);
        }
        Edit::SetLen(bytes) => content.resize(*bytes as usize, 0),
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let hit = self.begin(&mut state, Kind::Create, path)?;
        let real = RealDisk.create(path)?;
        let node = match state.file(path) {
            Some(node) => {
                state.nodes[node].edit(Edit::SetLen(0));
                node
            }
            None => {
                let node = state.nodes.len();
                state.nodes.push(Node::default());
                let (folder, name) = split(path);
                state.change(folder, vec![(name, Some(Entry::File(node)))]);
                node
            }
        };
        said(hit)?;
        Ok(Box::new(self.opened(&state, path, node, real)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        said(self.begin(&mut state, Kind::Append, path)?)?;
        let real = RealDisk.append(path)?;
        let node = state.file(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(self.opened(&state, path, node, real)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let hit = self.begin(&mut state, Kind::Rename, to)?;
        let node = state.file(from).ok_or(io::ErrorKind::NotFound)?;
        RealDisk.rename(from, to)?;
        let ((folder, old), (_, new)) = (split(from), split(to));
        state.change(folder, vec![(old, None), (new, Some(Entry::File(node)))]);
        said(hit)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let hit = self.begin(&mut state, Kind::Remove, path)?;
        RealDisk.remove(path)?;
        let (folder, name) = split(path);
        state.change(folder, vec![(name, None)]);
        said(hit)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let hit = self.begin(&mut state, Kind::CreateDir, path)?;
        RealDisk.create_dir(path)?;
        let (above, name) = split(path);
        state.change(above, vec![(name, Some(Entry::Folder))]);
        state.folders.entry(path.to_owned()).or_default();
        said(hit)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let hit = self.begin(&mut state, Kind::SyncDir, path)?;
        if let Some(folder) = state.folders.get_mut(path) {
            folder.sync();
        }
        said(hit)
    }

    fn is_parallel(&self) -> bool {
        false
    }
}

/// A file that a process has open.
#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    node: usize,
    process: usize,
    real: Box<dyn DiskFile>,
}

impl FaultyDisk {
    fn opened(
        &self,
        state: &State,
        path: &Path,
        node: usize,
        real: Box<dyn DiskFile>,
    ) -> FaultyFile {
        let process = state.process;
        FaultyFile { disk: self.clone(), path: path.to_owned(), node, process, real }
    }
}

impl FaultyFile {
    fn begin<'a>(
        disk: &'a FaultyDisk,
        process: usize,
        kind: Kind,
        path: &Path,
    ) -> io::Result<(MutexGuard<'a, State>, Hit)> {
        let mut state = disk.state();
        if state.process != process {
            return Err(Fault::Kill.error());
        }
        let hit = disk.begin(&mut state, kind, path)?;
        Ok((state, hit))
    }
}

impl DiskFile for FaultyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut state, hit) = Self::begin(&self.disk, self.process, Kind::Write, &self.path)?;
        let bytes = if hit.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        self.real.write_all(bytes)?;
        let node = &mut state.nodes[self.node];
        node.edit(Edit::Write { offset: node.bytes, bytes: bytes.to_vec() });
        said(hit)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let (mut state, hit) = Self::begin(&self.disk, self.process, Kind::SetLen, &self.path)?;
        self.real.set_len(bytes)?;
        state.nodes[self.node].edit(Edit::SetLen(bytes));
        said(hit)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut state, hit) = Self::begin(&self.disk, self.process, Kind::Sync, &self.path)?;
        let node = &mut state.nodes[self.node];
        match hit {
            None | Some(Fault::Torn) => node.sync(),
            Some(_) => node.pending.iter_mut().for_each(|edit| edit.is_doubtful = true),
        }
        said(hit)
    }
}
