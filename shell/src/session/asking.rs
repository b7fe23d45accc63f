//! One statement from its plan to its footer.

use std::collections::BTreeSet;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use canvass_planner::desk::{Entry, Planned, Running, State, StatementKind};
use canvass_planner::error::Error;
use canvass_planner::past::PastFilter;
use canvass_planner::warning::Warning;
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::reason::Code;
use jiff::Timestamp;

use super::{Last, Next, Session};
use crate::confirm::{self, Consent};
use crate::error::{Exit, report};
use crate::fleet::action_of;
use crate::follow::{Follow, Followed};
use crate::progress::Progress;
use crate::render::Look;
use crate::render::escape::visible;
use crate::terminal::Tone;
use crate::{footer, listing};

impl Session {
    /// Plans, asks for a yes where many are asked, signs, and follows to the footer.
    pub(super) async fn run(&mut self, statement: &str) -> Result<Exit, Error> {
        let mut started = Instant::now();
        let planned = tokio::select! {
            planned = self.desk.plan(statement) => planned?,
            () = self.interrupts.next() => return Err(Error::stopped()),
        };
        if planned.kind == StatementKind::Set {
            self.confirm_set(statement);
            return Ok(Exit::Complete);
        }
        self.check_format()?;
        if planned.kind == StatementKind::Explain {
            let lines: Vec<&str> = planned.explanation.lines().collect();
            return self.write(&listing::batch(vec![("plan", listing::texts(lines))])?, true);
        }
        self.last = Last { explanation: Some(planned.explanation.clone()), ..Last::default() };
        self.warn(&planned);
        let planning = started.elapsed();
        let mut envelope = None;
        if let Some(action) = &planned.action {
            let thinking = Instant::now();
            match self.consent(&planned, action).await? {
                Consent::Yes => envelope = Some(self.sign(action)?),
                Consent::Interrupted => return Err(Error::stopped()),
                Consent::No => {
                    eprintln!("nothing was asked");
                    return Ok(Exit::Complete);
                }
            }
            // The statement takes as long as it takes; the person who was asked is no part of it.
            started += thinking.elapsed();
        }
        let about = About::of(&planned);
        let schema = planned.schema.clone();
        let asked = Instant::now();
        let running = tokio::select! {
            running = self.desk.run(planned, envelope) => running,
            () = self.interrupts.next() => Err(Error::stopped()),
        };
        let running = running.inspect_err(|_| self.say_resume(&about))?;
        let (exit, goes_on) = self.follow(&schema, running, &about, started).await?;
        if self.settings.timer {
            eprintln!(
                "time: planned in {:.3} s, ran in {:.3} s",
                planning.as_secs_f64(),
                asked.elapsed().as_secs_f64()
            );
        }
        if goes_on {
            self.say_resume(&about);
        }
        Ok(exit)
    }

    /// Puts the answers to an action together that was asked before, and follows those still to come.
    pub fn resume(&mut self, wanted: &str) -> Result<Next, Error> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.resume_action(wanted)).map(Next::Go)
    }

    async fn resume_action(&mut self, wanted: &str) -> Result<Exit, Error> {
        let started = Instant::now();
        let envelope = self.found(wanted).await?;
        let action = action_of(&envelope)?;
        if !self.fleet.answers_for(&action.fleet) {
            return Err(Error::usage(format!("the action was asked of fleet `{}`", action.fleet)));
        }
        let planned = self.desk.plan_again(&action).await?;
        self.check_format()?;
        self.warn(&planned);
        self.last = Last {
            explanation: Some(planned.explanation.clone()),
            payload: Some(envelope.payload.clone()),
            ..Last::default()
        };
        let about = About::of(&planned);
        let schema = planned.schema.clone();
        let running = self.desk.resume(planned, envelope).await?;
        let (exit, goes_on) = self.follow(&schema, running, &about, started).await?;
        if goes_on {
            self.say_resume(&about);
        }
        Ok(exit)
    }

    /// Says what a statement reads that is not whole, and what of it may not be meant.
    fn warn(&self, planned: &Planned) {
        let warning = self.terminal.paint(Tone::Warning, "warning:");
        planned.remarks.iter().for_each(|remark| eprintln!("{warning} {}", visible(remark)));
        for Warning { message, hint } in &planned.warnings {
            eprintln!("{warning} {}", visible(message));
            if let Some(hint) = hint {
                eprintln!("{} {}", self.terminal.paint(Tone::Hint, "hint:"), visible(hint));
            }
        }
    }

    /// The last line where following ended early: how to come back.
    fn say_resume(&self, about: &About) {
        if let (Some(id), Some(server)) = (&about.id, &self.server) {
            eprintln!("resume: canvass --server {server}{} -c '.resume {id}'", self.signing.flag());
        }
    }

    /// Writes rows as they come, and accounts for all who were asked; says whether following ended before its time.
    async fn follow(
        &mut self,
        schema: &SchemaRef,
        running: Running,
        about: &About,
        started: Instant,
    ) -> Result<(Exit, bool), Error> {
        let look = self.look();
        let mut renderer = self.renderer(false)?;
        let follow = Follow {
            renderer: renderer.as_mut(),
            output: &mut self.output,
            interrupts: &mut self.interrupts,
            progress: Progress::new(about.asks && self.terminal.stderr && !self.settings.quiet),
            action: about.id.clone(),
        };
        let followed = follow.run(schema, running).await;
        let exit = self.account(&followed, about, started, look);
        let waiting = followed.entries.iter().any(|entry| entry.state == State::Waiting);
        let wants_more = !followed.interrupted && followed.entries.iter().any(needs_weight);
        if let (true, Some(id), Some(server)) = (wants_more, &about.id, &self.server)
            && self.may_begin(id, about.expires).await
        {
            // Whoever has to name a key here has several, and so may they.
            let key = if self.signing.flag().is_empty() { "" } else { " --key THEIRS" };
            eprintln!("another investigator can sign it too: canvass --server {server}{key} action cosign {id}");
        }
        self.last.entries = followed.entries;
        self.last.not_asked = followed.not_asked;
        self.result_written()?;
        Ok((exit, waiting || followed.interrupted || followed.error.is_some()))
    }

    /// Whether agents may still begin an action: its window is open, and nobody withdrew it, as far as the fleet knows.
    async fn may_begin(&self, id: &str, expires: Option<Timestamp>) -> bool {
        let Ok(id) = id.parse() else { return false };
        let this = PastFilter { ids: Some([id].into()), ..PastFilter::default() };
        let known = self.fleet.actions(&this, None).await.map(|page| page.items).unwrap_or_default();
        let withdrawn = known.iter().any(|action| action.id == id && action.withdrawn);
        !withdrawn && expires.is_none_or(|expires| Timestamp::now() < expires)
    }

    async fn consent(&mut self, planned: &Planned, action: &Action) -> Result<Consent, Error> {
        let above = self.desk.settings().confirm_above;
        if self.settings.yes || !confirm::is_needed(planned.asked.len(), above) {
            return Ok(Consent::Yes);
        }
        confirm::ask(planned, action, &self.terminal, &mut self.interrupts).await
    }

    /// Says on standard error how a statement went, and what that means for the exit code.
    fn account(&mut self, followed: &Followed, about: &About, started: Instant, look: Look) -> Exit {
        // Whoever read the rows has seen enough.
        if self.output.closed() {
            return Exit::Complete;
        }
        let entries = &followed.entries;
        let mut exit = footer::exit(entries);
        if about.nobody {
            exit = exit.max(Exit::Incomplete);
        }
        if let Some(error) = &followed.error {
            exit = exit.max(report(error, None, &self.terminal));
            let lost: u64 = entries.iter().map(|entry| entry.rows).sum();
            if about.asks && lost > 0 {
                let warning = self.terminal.paint(Tone::Warning, "warning:");
                eprintln!("{warning} {lost} rows had come from hosts, and the result of them is not whole");
            }
        }
        if followed.interrupted {
            exit = Exit::Interrupted;
        }
        let warning = self.terminal.paint(Tone::Warning, "warning:");
        for remark in &followed.remarks {
            eprintln!("{warning} {}", visible(remark));
        }
        for line in footer::warnings(entries) {
            eprintln!("{warning} {line}");
        }
        if let Some(cut) = footer::cut(entries).filter(|_| !self.settings.format.carries_cut()) {
            eprintln!("{warning} {cut}");
        }
        if let Some(remark) = followed.remark.as_ref().filter(|_| look.terminal) {
            eprintln!("{}", self.terminal.paint(Tone::Quiet, &format!("({remark})")));
        }
        if self.settings.quiet {
            return exit;
        }
        let mut tally = footer::Tally::of(entries);
        // Where rows say whose they are, a join's or a group's count as those hosts' and nobody else's.
        tally.with_rows = followed.hosts.as_ref().map_or(tally.with_rows, BTreeSet::len);
        let asked = about.asks.then_some((&tally, about.expires));
        eprintln!(
            "{}",
            self.terminal
                .paint(Tone::Quiet, &footer::line(followed.rows, asked, &followed.not_asked, started.elapsed()))
        );
        for line in footer::troubles(entries) {
            eprintln!("{line}");
        }
        exit
    }

    /// Signs the exact bytes of an action and keeps them.
    fn sign(&mut self, action: &Action) -> Result<Envelope, Error> {
        let envelope = self.signing.envelope(action.to_bytes())?;
        self.archive.keep(&action.id.to_string(), &envelope)?;
        self.last.payload = Some(envelope.payload.clone());
        Ok(envelope)
    }
}

/// What the account of a statement needs to know of its plan.
struct About {
    /// It names a table that endpoints answer, even where its target matches none of them.
    asks: bool,
    /// No agent is as the statement says, or none of them can be asked.
    nobody: bool,
    expires: Option<Timestamp>,
    id: Option<String>,
}

impl About {
    fn of(planned: &Planned) -> About {
        let action = planned.action.as_ref();
        About {
            asks: planned.asks,
            nobody: planned.nobody,
            expires: action.map(|action| action.window.until),
            id: action.map(|action| action.id.to_string()),
        }
    }
}

/// Whether an endpoint refused for want of signatures.
fn needs_weight(entry: &Entry) -> bool {
    matches!(&entry.state, State::Refused(why) if why.code == Code::Weight)
}
