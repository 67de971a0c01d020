//! The soak's result as Markdown, written where `SOAK_REPORT` says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::book::Counts;
use crate::run::Soak;

/// The numbers of one run.
pub struct Numbers {
    pub minutes: f64,
    /// Requests whose client left before the proxy heard of them.
    pub unheard: u64,
    /// Ended requests by the log's two letters.
    pub ends: BTreeMap<String, u64>,
    pub took: Duration,
    /// Resident memory in the second and in the last fifth of the storm, KiB (median).
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
    let Numbers { minutes, ends, unheard, took, resident } = numbers;
    let (tally, accounts) = (soak.tally.lock(), soak.accounts.lock());
    say("# Soak\n");
    say(
        "The real binary under random requests, clients that leave in every phase, engine faults and kills, reloads, and all",
    );
    say(
        "that an operator may do by the admin API (`tests/soak`). Flood and ebb take turns: every slot taken and a queue, or room.\n",
    );
    say("```");
    let seed = soak.seed;
    say(&format!("SOAK_MINUTES={minutes} SOAK_SEED={seed} SOAK_REPORT=benches/results/soak.md cargo test --test soak"));
    say("```\n");
    say(&format!(
        "Machine: {cores} cores ({cpu}), Linux {kernel}; proxy, clients and engines all on it; profile {profile}.\n"
    ));
    say(&format!("Commit: {}.\n", commit()));
    let missing: Vec<&str> = soak.traits.named().into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        say(&format!("**Left out**, since the binary does not have it: {}.\n", missing.join(", ")));
    }
    let requests: u64 = tally.endings.values().sum();
    let seconds = took.as_secs_f64();
    let rate = requests as f64 / seconds;
    let counts: Vec<Counts> = soak.members.iter().map(|member| member.book.counts()).collect();
    say("| what | count |\n|---|---|");
    say(&format!("| requests | {requests} in {seconds:.0} s ({rate:.0} a second) |"));
    say(&format!("| **lost** | **{}** |", tally.lost));
    say(&format!("| **over a cap** | **{}** |", counts.iter().map(|counts| counts.over_cap).sum::<u64>()));
    say(&format!("| other complaints | {} |", tally.mistakes.saturating_sub(tally.lost)));
    say("| in flight, queued, body bytes, jobs in engines at the end | 0, 0, 0, 0 |");
    say(&format!("| lines in the access log, clients that left unheard | {}, {unheard} |", accounts.seen));
    say(&format!("| attempts beyond the first | {} |", accounts.retries));
    say(&format!("| reloads applied, refused | {}, {} |", tally.reloads.0, tally.reloads.1));
    let [first, second] = resident;
    say(&format!("| resident memory, median of the storm's second and last fifth, KiB | {first}, {second} |"));
    say(
        "\nHow requests ended, by what explains it. Lost is what none of these explains (`tests/soak/accounts.rs` has the rules):",
    );
    say("above all an error while a healthy endpoint had room.\n\n| end | count |\n|---|---|");
    accounts.reasons.iter().for_each(|(reason, count)| say(&format!("| {reason} | {count} |")));
    say("\nWhat clients saw:\n\n| end | count |\n|---|---|");
    tally.endings.iter().for_each(|(ending, count)| say(&format!("| {ending} | {count} |")));
    say("\nErrors that are not due, as the access log has them:\n\n| status, end, reason | count |\n|---|---|");
    accounts.errors.iter().for_each(|(words, count)| say(&format!("| {words} | {count} |")));
    say("\nWhat was done meanwhile:\n\n| what | count |\n|---|---|");
    tally.operations.iter().for_each(|(what, count)| say(&format!("| {what} | {count} |")));
    tally.faults.iter().for_each(|(kind, count)| say(&format!("| fault: {kind} | {count} |")));
    say("\nWhat the access log calls the end of a request:\n\n| end | count |\n|---|---|");
    ends.iter().for_each(|(end, count)| say(&format!("| `{end}` | {count} |")));
    say(
        "\n| engine | caps | most by the proxy's count | most at its door | requests | given up | overlaps | over cap | soon after a change of cap |",
    );
    say("|---|---|---|---|---|---|---|---|---|");
    for (member, counts) in soak.members.iter().zip(&counts) {
        let (name, [one, other]) = (member.name, member.caps);
        let most = tally.most.get(name).copied().unwrap_or(0);
        let Counts { requests, given_up, most: seen, overlaps, over_cap, near_change } = counts;
        say(&format!(
            "| {name} | {one} or {other} | {most} | {seen} | {requests} | {given_up} | {overlaps} | {over_cap} | {near_change} |"
        ));
    }
    say(
        "\nA door counts each request from its head on. Overlaps: one that its sender had given up was still there, noticed a little",
    );
    say(
        "later, within a second; without leaving clients, faults and kills there are none. Over cap: more than that, at any",
    );
    say("instant; a cap lowered at run time counts for what is sent after the answer that says so.");
    if std::env::var("SOAK_REPORT").is_ok() {
        say("\n![Memory, requests in engines and in queues over time](soak.svg)");
    }
    text
}
