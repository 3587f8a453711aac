//! What this process has used, as Linux tells it; zeros elsewhere.

/// Ticks of processor time in a second; the same on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) peak_rss_bytes: u64,
}

impl Usage {
    pub(super) fn now() -> Self {
        Self { cpu_seconds: cpu_seconds().unwrap_or(0.0), peak_rss_bytes: peak().unwrap_or(0) }
    }

    /// Starts the peak of memory anew.
    pub(super) fn reset_peak() {
        // Where this is not allowed, the peak is that of the whole process.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything; the fields begin behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system) =
        (fields.get(11)?.parse::<f64>().ok()?, fields.get(12)?.parse::<f64>().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
