//! What the binary under test can do: the soak leaves out what it cannot, and says so.

use crate::common::{Proxy, reqwest_client};

/// What it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// The admin API: `GET /api/status`.
    pub api: bool,
    pub affinity: bool,
    pub ejection: bool,
    pub priority: bool,
    /// `retries: { count, budget, on }`.
    pub budget: bool,
    pub slow_start: bool,
}

impl Traits {
    /// By the schema of its configuration; [`Traits::ask`] fills in the rest.
    pub fn of_schema() -> Traits {
        let told = std::process::Command::new(env!("CARGO_BIN_EXE_arriero")).arg("schema").output();
        let told = told.expect("the binary runs").stdout;
        let schema = String::from_utf8_lossy(&told);
        let has = |word: &str| schema.contains(&format!("\"{word}\""));
        Traits {
            api: false,
            affinity: has("insert_cookie"),
            ejection: has("ejection"),
            priority: has("priority"),
            budget: has("budget"),
            slow_start: has("slow_start"),
        }
    }

    /// Asks the running proxy for its API, and tells what will be left out.
    pub async fn ask(self, proxy: &Proxy) -> Traits {
        let status = reqwest_client().get(proxy.admin("api/status")).send().await;
        let traits = Traits { api: status.is_ok_and(|answer| answer.status() == 200), ..self };
        let missing: Vec<&str> = traits.named().into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            println!("SKIPPED: this binary has no {}", missing.join(", no "));
        }
        traits
    }

    /// Every trait by name.
    pub fn named(self) -> [(&'static str, bool); 6] {
        [
            ("admin API", self.api),
            ("affinity", self.affinity),
            ("ejection", self.ejection),
            ("priorities", self.priority),
            ("retry budget", self.budget),
            ("slow start", self.slow_start),
        ]
    }
}
