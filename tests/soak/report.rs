//! The soak's result as Markdown, written where `SOAK_REPORT` says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::run::Soak;

/// The numbers of one run.
pub struct Numbers {
    /// As asked for; some more follow to show that everything came back.
    pub requests: u64,
    /// Attempts beyond the first, over all requests.
    pub retries: u64,
    /// Ended requests by the log's two letters.
    pub ends: BTreeMap<String, u64>,
    pub took: Duration,
    /// Resident memory after the first and after the second half, KiB.
    pub resident: [u64; 2],
}

fn first_line(path: &str, begin: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or("unknown");
    line.rsplit(": ").next().unwrap_or("unknown").trim().to_owned()
}

/// The checkout's commit; `-dirty` with changes beside it.
fn commit() -> String {
    let git = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let told = git.ok().and_then(|git| String::from_utf8(git.stdout).ok());
    told.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).unwrap_or("unknown".to_owned())
}

/// Everything that was counted.
pub fn render(soak: &Soak, numbers: &Numbers) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        let _infallible = writeln!(text, "{line}");
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (kernel, cpu) = (first_line("/proc/sys/kernel/osrelease", ""), first_line("/proc/cpuinfo", "model name"));
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    say("# Soak\n");
    say("The real binary under random requests, clients that leave, engine faults and reloads (`tests/soak`).\n");
    say("```");
    let (requests, seed) = (numbers.requests, soak.seed);
    say(&format!(
        "SOAK_REQUESTS={requests} SOAK_SEED={seed} SOAK_REPORT=benches/results/soak.md cargo test --test soak"
    ));
    say("```\n");
    say(&format!(
        "Machine: {cores} cores ({cpu}), Linux {kernel}; proxy, clients and engines all on it; profile {profile}.\n"
    ));
    say(&format!("Commit: {}.\n", commit()));
    let seconds = numbers.took.as_secs_f64();
    let rate = requests as f64 / seconds;
    say("| what | count |\n|---|---|");
    say(&format!("| requests | {requests} in {seconds:.0} s ({rate:.0} a second) |"));
    let tally = soak.tally.lock();
    say(&format!("| **lost** | **{}** |", tally.lost));
    tally.endings.iter().for_each(|(ending, count)| say(&format!("| {ending} | {count} |")));
    say(&format!("| attempts beyond the first | {} |", numbers.retries));
    say(&format!("| reloads applied, refused | {}, {} |", tally.reloads.0, tally.reloads.1));
    tally.faults.iter().for_each(|(kind, count)| say(&format!("| fault: {kind} | {count} |")));
    say("| in flight, queued, body bytes, jobs in engines at the end | 0, 0, 0, 0 |");
    let [first, second] = numbers.resident;
    say(&format!("| resident memory after each half, KiB | {first}, {second} |"));
    say("\nWhat the access log calls the end of a request:\n\n| end | count |\n|---|---|");
    numbers.ends.iter().for_each(|(end, count)| say(&format!("| `{end}` | {count} |")));
    say(
        "\n| engine | caps | most by the proxy's count | most the engine saw | requests | cancelled | spoiled by a fault |",
    );
    say("|---|---|---|---|---|---|---|");
    for member in &soak.members {
        let (name, stats, [one, other]) = (member.name, member.lab.stats(), member.caps);
        let most = tally.most.get(name).copied().unwrap_or(0);
        let (seen, all, cancels, faulted) = (stats.max_in_flight, stats.inference, stats.cancels, stats.faulted);
        say(&format!("| {name} | {one} or {other} | {most} | {seen} | {all} | {cancels} | {faulted} |"));
    }
    say("\nAn engine may see more than its cap for a moment: it notices a client that left later than the proxy does.");
    say("In the first tenth, without leaving clients, faults and reloads, it never did.");
    text
}
