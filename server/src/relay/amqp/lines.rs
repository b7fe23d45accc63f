//! Which agents have a line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Lines by agent and by the secret that its messages carry.
#[derive(Debug, Default)]
pub struct Lines {
    by_agent: HashMap<String, Line>,
    agents: HashMap<String, String>,
}

#[derive(Debug)]
struct Line {
    secret: String,
    heard_at: Instant,
    /// Where the agent came from when it opened the line.
    public_ip: Option<IpAddr>,
}

impl Lines {
    /// Opens an agent's line in place of its former one.
    pub fn open(&mut self, agent: &str, secret: &str, public_ip: Option<IpAddr>, now: Instant) {
        self.close(agent);
        self.by_agent.insert(agent.to_owned(), Line { secret: secret.to_owned(), heard_at: now, public_ip });
        self.agents.insert(secret.to_owned(), agent.to_owned());
    }

    /// Closes an agent's line; whether there was one.
    pub fn close(&mut self, agent: &str) -> bool {
        let line = self.by_agent.remove(agent);
        line.map(|line| self.agents.remove(&line.secret)).is_some()
    }

    /// Whose line it is, which is heard now, and where its agent came from.
    pub fn heard(&mut self, secret: &str, now: Instant) -> Option<(String, Option<IpAddr>)> {
        let agent = self.agents.get(secret)?;
        let line = self.by_agent.get_mut(agent)?;
        line.heard_at = now;
        Some((agent.clone(), line.public_ip))
    }

    pub fn is_open(&self, agent: &str) -> bool {
        self.by_agent.contains_key(agent)
    }

    /// Agents with a line.
    pub fn agents(&self) -> Vec<String> {
        self.by_agent.keys().cloned().collect()
    }

    /// Those who were not heard for longer than this.
    pub fn silent(&self, now: Instant, longer_than: Duration) -> Vec<String> {
        let silent = self.by_agent.iter().filter(|(_, line)| now.duration_since(line.heard_at) > longer_than);
        silent.map(|(agent, _)| agent.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_its_agents_until_another_takes_its_place() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let web = || Some(("web-1".to_owned(), Some(IpAddr::from([192, 0, 2, 7]))));
        lines.open("web-1", "s1", Some(IpAddr::from([192, 0, 2, 7])), now);
        assert_eq!(lines.heard("s1", now), web());
        lines.open("web-1", "s2", Some(IpAddr::from([192, 0, 2, 7])), now);
        assert_eq!((lines.heard("s1", now), lines.heard("s2", now)), (None, web()));
        let later = now + Duration::from_secs(100);
        assert_eq!(lines.silent(later, Duration::from_secs(99)), ["web-1"]);
        lines.heard("s2", later);
        assert_eq!(lines.silent(later, Duration::from_secs(99)), [] as [&str; 0]);
        assert!(lines.close("web-1") && !lines.close("web-1") && !lines.is_open("web-1"));
        assert_eq!(lines.heard("s2", later), None);
    }
}
