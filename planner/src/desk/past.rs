//! Actions that were posted before, planned again: their results are what they were, whatever has changed since.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::scan::Scan;
use datafusion::arrow::datatypes::Schema;
use datafusion::physical_plan::ExecutionPlan as _;
use datafusion::sql::parser::Statement;

use super::{Basis, Desk, Plan, Planned, sql_of};
pub use crate::again::Gives;
use crate::answers::{self, Expected, Known};
use crate::error::Error;
use crate::feed::Feeds;
use crate::fleet::Endpoint;
use crate::hosts::is_meant_for;
use crate::kept::{Inventory, KeptAgent};
use crate::local::Contents;
use crate::results::{self, PastResult};
use crate::settings::Settings;
use crate::{again, catalog, depth, exec};

/// What a plan knows of an action that was posted before.
pub(super) struct PastPlan {
    /// For each leaf the scan of the action that it reads.
    places: Vec<usize>,
    /// For each endpoint that was asked.
    known: Vec<Known>,
}

impl Desk {
    /// Plans the statement of an action that was posted before, as of the moment it was planned at and with what it was
    /// planned with, to put its answers together again.
    pub async fn plan_again(&mut self, action: &Action) -> Result<Planned, Error> {
        self.plan_past(action, 0).await
    }

    async fn plan_past(&mut self, action: &Action, deep: usize) -> Result<Planned, Error> {
        let asked = self.fleet.asked(action).await?;
        let (kept, listed) = (self.kept(action)?, self.fleet.endpoints().await?);
        let whole = kept.as_ref().filter(|kept| kept.whole).map(Inventory::endpoints);
        let is_whole = whole.is_some();
        let inventory = whole.unwrap_or_else(|| listed.clone());
        let basis = self.then(action, deep, inventory, kept.is_some())?;
        let planned = depth::with_room(self.plan_at(sql_of(action)?, basis)).await?;
        let Some(mut plan) = planned.plan else {
            return Err(Error::usage("the statement of this action is none that answers with rows"));
        };
        let mut remarks = planned.remarks;
        if plan.all.is_some() && !is_whole {
            remarks.push("`agents` is read as it is now: how it was then was not kept on this machine".to_owned());
        }
        let as_of_now = |name: &&str| format!("`{name}` is read as it is now: how it was then is not kept");
        remarks.extend(plan.reads_past.iter().map(as_of_now));
        let places = again::place(&plan.wanted, &action.scans)?;
        let reads_agent = plan.reads_agent();
        let (asked, known) =
            expected(&asked, kept.as_ref(), listed, action.scans.len(), reads_agent).into_iter().unzip();
        plan.past = Some(PastPlan { places, known });
        Ok(Planned { action: Some(action.clone()), asked, remarks, plan: Some(plan), ..planned })
    }

    /// As an action was planned. Unless it was asked here, its words are somebody else's, and open no file.
    fn then(&self, action: &Action, deep: usize, inventory: Vec<Endpoint>, asked_here: bool) -> Result<Basis, Error> {
        let options = Settings::then(action)?.options;
        let contents =
            Contents::Then { files: action.inputs.files.clone(), keeper: self.keeper.clone(), own: asked_here };
        Ok(Basis { at: action.window.from, deep, options, contents, inventory, past: true })
    }

    /// What was kept of an action when it was asked here.
    fn kept(&self, action: &Action) -> Result<Option<Inventory>, Error> {
        let kept = self.keeper.inventory(action)?;
        Ok(kept.filter(|kept| kept.action == ActionHash::of(&action.to_bytes())))
    }

    /// Whether the statement of an action gives the scans that its signers ask for, planned as its author planned it; an error
    /// says why that cannot be told here.
    pub async fn gives(&mut self, action: &Action) -> Result<Gives, Error> {
        let inventory = self.fleet.endpoints().await?;
        let asked_here = self.kept(action)?.is_some();
        let basis = self.then(action, 0, inventory, asked_here)?;
        let planned = depth::with_room(self.plan_at(sql_of(action)?, basis)).await?;
        Ok(planned.plan.map_or(Gives::Others, |plan| again::compare(&plan.wanted, &action.scans)))
    }

    /// Puts the results together that a statement reads by `results('ID')`.
    pub(super) async fn results(&mut self, statement: &mut Statement, deep: usize) -> Result<Vec<PastResult>, Error> {
        let mut found = Vec::new();
        for id in results::take(statement)? {
            if deep >= results::DEPTH_MAX {
                return Err(Error::usage(format!("results of results are read {} deep", results::DEPTH_MAX)));
            }
            found.push(self.result(&id, deep + 1).await?);
        }
        Ok(found)
    }

    /// It plans another statement, which may read results too.
    fn result<'a>(
        &'a mut self,
        id: &'a str,
        deep: usize,
    ) -> Pin<Box<dyn Future<Output = Result<PastResult, Error>> + Send + 'a>> {
        Box::pin(async move {
            let envelope = self.fleet.signed(id).await?;
            let action = Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::usage(error.to_string()))?;
            if !self.fleet.answers_for(&action.fleet) {
                return Err(Error::usage(format!("action `{id}` was asked of fleet `{}`", action.fleet)));
            }
            let planned = self.plan_past(&action, deep).await?;
            let (schema, within) = (planned.schema.clone(), planned.remarks.clone());
            let running = self.stored(planned, envelope).await?;
            PastResult::collect(id, schema, running, within).await
        })
    }

    /// Keeps what a result depends on before anything is sent, so that it stays what it was.
    pub(super) async fn keep(
        &self,
        action: &Action,
        envelope: &Envelope,
        asked: &[Endpoint],
        plan: &Plan,
    ) -> Result<(), Error> {
        let all = plan.all.as_deref();
        let inventory = Inventory::of(envelope.hash(), &action.scans, asked, all, plan.reads_agent());
        let (keeper, action) = (self.keeper.clone(), action.clone());
        let keeping = tokio::task::spawn_blocking(move || {
            action.inputs.files.iter().try_for_each(|file| keeper.keep_file(file))?;
            keeper.keep_inventory(&action, &inventory)
        });
        keeping.await.unwrap_or_else(|_| Err(Error::internal("what the result depends on cannot be kept")))
    }
}

impl Plan {
    /// Opens the ways of the answers to an action's scans into the leaves that read them.
    pub(super) fn feeds(&self, action: &Action) -> (Vec<answers::Scan>, Arc<Feeds>) {
        let feeds = Feeds::new();
        // What no leaf reads is not opened, so its schema need not be known.
        let unread = |scan: &Scan| answers::Scan {
            answer: Arc::new(Schema::empty()),
            target: scan.target.clone(),
            leaves: Vec::new(),
        };
        let mut scans: Vec<answers::Scan> = action.scans.iter().map(unread).collect();
        for (index, leaf) in self.scans.iter().filter_map(exec::as_fleet).enumerate() {
            let place = self.past.as_ref().map_or(index, |past| past.places[index]);
            scans[place].answer = leaf.answer_schema(&action.scans[place].columns);
            scans[place].leaves.push(answers::Leaf::new(leaf.schema(), leaf.open(&feeds)));
        }
        (scans, feeds)
    }

    /// Whether a leaf reads more of an agent than its name.
    pub(super) fn reads_agent(&self) -> bool {
        self.scans.iter().any(|leaf| leaf.schema().column_with_name(catalog::AGENT).is_some())
    }

    /// What the desk knows of those who are asked.
    pub(super) fn expected(&self, asked: &[Endpoint], scans: &[Scan]) -> Vec<Expected> {
        let meant = |endpoint: &Endpoint| scans.iter().map(|scan| is_meant_for(&scan.target, endpoint)).collect();
        let known: Vec<Known> = match &self.past {
            Some(past) => past.known.clone(),
            None => asked.iter().map(|endpoint| Known::Then(meant(endpoint))).collect(),
        };
        asked.iter().cloned().zip(known).map(|(endpoint, known)| Expected { endpoint, known }).collect()
    }
}

/// The agents that an action was brought to, as far as they are known: as they were where that was kept, else as they are.
fn expected(
    asked: &[String],
    kept: Option<&Inventory>,
    listed: Vec<Endpoint>,
    scans: usize,
    reads_agent: bool,
) -> Vec<(Endpoint, Known)> {
    let kept: HashMap<&str, &KeptAgent> =
        kept.into_iter().flat_map(|kept| &kept.agents).map(|agent| (agent.id.as_str(), agent)).collect();
    let mut listed: HashMap<String, Endpoint> =
        listed.into_iter().map(|endpoint| (endpoint.facts.id.clone(), endpoint)).collect();
    let known = |id: &String| {
        let then = kept.get(id.as_str()).and_then(|agent| agent.known(scans, reads_agent));
        let now = || listed.remove(id).map(|endpoint| (endpoint, Known::Now));
        then.or_else(now).unwrap_or_else(|| (Endpoint::unknown(id), Known::Nothing))
    };
    let mut all: Vec<(Endpoint, Known)> = asked.iter().map(known).collect();
    all.sort_by(|(a, _), (b, _)| a.host.cmp(&b.host));
    all
}
