//! What the kernel says: processor time and memory of a process with all its children, and how busy the machine was.
//!
//! Processor time is the scheduler's own account in nanoseconds (first number of `schedstat`), summed over threads and
//! child processes that live; memory is `Rss` of `smaps_rollup` in KiB. What cannot be read counts as an error for a
//! process that must be there, and as nothing for one that has just ended.

use std::fs;

use anyhow::{Context, ensure};

/// A process and all that descend from it.
pub fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        names("/proc").iter().filter_map(|name| Some((name.parse().ok()?, parent(name)?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
    }
    found
}

/// Second field after the command's closing parenthesis.
fn parent(pid: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Nanoseconds of processor time that the process, its threads and its children have had.
pub fn cpu_ns(root: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in family(root) {
        for thread in names(&format!("/proc/{pid}/task")) {
            let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
            sum += text.split_ascii_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    ensure!(sum > 0, "process {root} has no processor time: has it ended?");
    Ok(sum)
}

/// Resident memory of the process and its children, KiB.
pub fn rss_kib(root: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in family(root) {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        sum += line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    }
    ensure!(sum > 0, "process {root} has no memory: has it ended?");
    Ok(sum)
}

/// The machine's account at one moment, all processors together.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    busy: f64,
    all: f64,
    processors: f64,
    ours_ns: u64,
}

impl Account {
    /// Now; ours are this process and all that it started.
    pub fn take() -> anyhow::Result<Account> {
        let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<f64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
        ensure!(ticks.len() == 8, "/proc/stat: {line}");
        let (all, idle) = (ticks.iter().sum::<f64>(), ticks[3] + ticks[4]);
        let processors = text.lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1).max(1) as f64;
        let ours_ns = cpu_ns(std::process::id())?;
        Ok(Account { busy: all - idle, all, processors, ours_ns })
    }

    /// What everybody else used since `before`, in processors. The length of a tick cancels out.
    pub fn others_since(&self, before: &Account, elapsed_ns: f64) -> f64 {
        let busy = (self.busy - before.busy) / (self.all - before.all).max(1.0) * self.processors;
        let ours = self.ours_ns.saturating_sub(before.ours_ns) as f64 / elapsed_ns;
        (busy - ours).max(0.0)
    }
}

/// First line of what a command prints, for the record; `-` if there is no such command or it
/// fails.
pub fn first_line(command: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(command).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("-").trim().to_owned()
}

/// Model of the processor.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or("unknown processor".into(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_time_and_memory_and_its_children_are_family() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        assert!(family(std::process::id()).contains(&child.id()));
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(cpu_ns(std::process::id()).expect("time") > 0);
        assert!(rss_kib(std::process::id()).expect("memory") > 100);
        assert!(cpu_ns(child.id()).is_err(), "an ended process is noticed");
    }
}
