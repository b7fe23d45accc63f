//! What whoever runs the benchmark may say, in the environment.

use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

use crate::engine::{Broker, Engine, Series};

/// Timed runs of each side in a round, and rounds.
const RUNS: usize = 5;
const ROUNDS: usize = 2;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Heartbeats,
    Investigators,
}

pub struct Settings {
    /// `RUNS`
    pub runs: usize,
    /// `ROUNDS`
    pub rounds: usize,
    /// `ENGINE`, as in `embedded`; both where it is not set.
    pub engines: Vec<Engine>,
    /// `SERIES`, as in `4`; the distribution's RabbitMQ where it is not set.
    pub series: Series,
    /// `BROKER`, as in `management`; lean where it is not set.
    pub broker: Broker,
    /// `AGENTS`, as in `1000,5000`; what the goals name where it is not set.
    agents: Option<Vec<u32>>,
    /// `ONLY`, as in `statements`; all where it is not set.
    also: Vec<What>,
}

impl Settings {
    pub fn from_environment() -> Result<Settings> {
        Settings::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let engines = match variable("ENGINE").as_deref() {
            None => vec![Engine::Distributed, Engine::Embedded],
            Some("rabbitmq" | "rabbitmq+postgres") => vec![Engine::Distributed],
            Some("embedded" | "embedded+sqlite") => vec![Engine::Embedded],
            Some(other) => bail!("ENGINE: there is no `{other}`; there are `rabbitmq` and `embedded`"),
        };
        let broker = match variable("BROKER").as_deref() {
            None | Some("lean") => Broker::Lean,
            Some("management") => Broker::Management,
            Some(other) => bail!("BROKER: there is no `{other}`; there are `lean` and `management`"),
        };
        let series = match variable("SERIES").as_deref() {
            None => Series::Distribution,
            Some("4") => Series::Four,
            Some(other) => bail!("SERIES: there is no `{other}`; there is `4`, beside the distribution's"),
        };
        let mut also = Vec::new();
        for word in variable("ONLY").as_deref().unwrap_or("statements,heartbeats,investigators").split(',') {
            match word.trim() {
                "statements" => {}
                "heartbeats" => also.push(What::Heartbeats),
                "investigators" => also.push(What::Investigators),
                other => bail!("ONLY: there is no `{other}`; there are statements, heartbeats, investigators"),
            }
        }
        let agents = variable("AGENTS").map(|list| list.split(',').map(|text| number("AGENTS", text)).collect());
        let settings = Settings {
            runs: variable("RUNS").map_or(Ok(RUNS), |text| number("RUNS", &text))?,
            rounds: variable("ROUNDS").map_or(Ok(ROUNDS), |text| number("ROUNDS", &text))?,
            engines,
            series,
            broker,
            agents: agents.transpose()?,
            also,
        };
        if settings.runs == 0 || settings.rounds == 0 || settings.agents.iter().flatten().any(|agents| *agents == 0) {
            bail!("RUNS, ROUNDS and AGENTS are at least 1");
        }
        Ok(settings)
    }

    pub fn sizes(&self, engine: Engine) -> Vec<u32> {
        self.agents.clone().unwrap_or_else(|| engine.sizes().to_vec())
    }

    pub fn wants(&self, what: What) -> bool {
        self.also.contains(&what)
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| anyhow!("{name}: `{text}` is no number that fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings> {
        Settings::from(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_is_said_is_heeded_and_the_rest_has_a_default() {
        let all = settings(&[]).unwrap();
        assert_eq!((all.runs, all.engines.len(), all.sizes(Engine::Embedded)), (RUNS, 2, vec![1, 500, 1000]));
        assert!(all.wants(What::Heartbeats) && all.wants(What::Investigators));
        let some = settings(&[("AGENTS", "10, 20"), ("ENGINE", "rabbitmq"), ("ONLY", "statements")]).unwrap();
        assert_eq!((some.sizes(Engine::Distributed), some.engines), (vec![10, 20], vec![Engine::Distributed]));
        assert!(!some.also.contains(&What::Heartbeats));
        let brokers = [None, Some("lean"), Some("management")]
            .map(|name| settings(&name.map(|name| ("BROKER", name)).into_iter().collect::<Vec<_>>()).unwrap().broker);
        assert_eq!(brokers, [Broker::Lean, Broker::Lean, Broker::Management]);
        assert_eq!(all.series, Series::Distribution);
        assert_eq!(settings(&[("SERIES", "4")]).unwrap().series, Series::Four);
        for pair in
            [("SERIES", "3"), ("RUNS", "0"), ("AGENTS", "x"), ("ENGINE", "kafka"), ("BROKER", "fat"), ("ONLY", "P4")]
        {
            assert!(settings(&[pair]).is_err(), "{pair:?}");
        }
    }
}
