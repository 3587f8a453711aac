//! How much memory there is.

use crate::prepare::Prepared;

/// What a pipeline may take in bytes, as its file says, or else as the machine has it.
pub(super) fn limit(prepared: &Prepared) -> u64 {
    let limit = prepared.pipeline.spec.run.memory_limit.map(|limit| limit.0);
    limit.or_else(of_machine).unwrap_or(u64::MAX)
}

/// Half of the machine's memory in bytes, or of what the control group of this process may take of
/// it; `None` where that cannot be told.
fn of_machine() -> Option<u64> {
    let machine = machine();
    let group = group();
    let least = match (machine, group) {
        (Some(machine), Some(group)) => machine.min(group),
        (machine, group) => machine.or(group)?,
    };
    Some(least / 2)
}

fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// `max`, which is no number, stands for no limit.
fn group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = std::fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.max")).ok()?;
    limit.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some() {
        let half = of_machine();
        assert!(half.is_some_and(|bytes| bytes > 1 << 24), "{half:?}");
        assert!(half <= machine().map(|bytes| bytes / 2));
    }
}
