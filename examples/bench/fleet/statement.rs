//! The whole statement beside the bare echo: blocks of both take turns.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use canvass_examples::swarm::running::Running;
use canvass_examples::yard::Yard;

use crate::cpu;
use crate::desk::{Asked, Desk};
use crate::echo::{self, Bytes};
use crate::engine::{Bench, Engine};
use crate::settings::Settings;

/// One connection of each host goes there.
const STATEMENT: &str = "SELECT host, remote_ip, remote_port FROM netstat WHERE remote_ip = '203.0.113.99'";
/// How long nothing is asked before a statement is timed.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_EACH: Duration = Duration::from_millis(1);
/// Another one, of as many bytes, before anything is timed.
const WARM: &str = "SELECT host, remote_port, remote_ip FROM netstat WHERE remote_ip = '203.0.113.99'";

#[derive(Default)]
struct Samples {
    statement: Vec<f64>,
    first_row: Vec<f64>,
    echo: Vec<f64>,
    /// Of the server, the swarm, the desk, the broker, the database and the whole machine, for each statement.
    cpu: [Vec<f64>; 6],
}

/// Measures and prints; `also` measures what else there is to measure while the last swarm is there.
pub fn measure(
    settings: &Settings,
    bench: &Bench,
    agents: u32,
    also: impl Fn(&Yard, &str) -> Result<()>,
) -> Result<()> {
    let (yard, name) = (&bench.yard, bench.engine.name());
    let mut samples = Samples::default();
    let mut bytes = Bytes::default();
    for round in 1..=settings.rounds {
        let swarm = connect(bench, agents)?;
        let mut desk = Desk::open(yard)?;
        check(&desk.ask(WARM)?, agents)?;
        for _ in 0..settings.runs {
            // What follows an answer, a word to each agent that it is stored, is no part of the next.
            desk.rest(QUIET + QUIET_EACH * agents)?;
            let before = used(bench, swarm.id(), desk.id())?;
            let asked = desk.ask(STATEMENT)?;
            check(&asked, agents)?;
            samples.statement.push(asked.last_row_s);
            samples.first_row.push(asked.first_row_s);
            let after = used(bench, swarm.id(), desk.id())?;
            samples.cpu.iter_mut().zip(before).zip(after).for_each(|((all, from), to)| all.push(to - from));
        }
        drop(desk);
        if round == settings.rounds {
            also(yard, name)?;
        }
        bytes = Bytes::of(swarm.end()?);
        samples.echo.extend(match (&bench.engine, &bench.services) {
            (Engine::Distributed, Some((_, rabbitmq))) => echo::amqp(&rabbitmq.url(), agents, bytes, settings.runs)?,
            _ => echo::websocket(agents, bytes, settings.runs)?,
        });
    }
    let (statement, echo) = (median(&samples.statement), median(&samples.echo));
    println!(
        "bench-fleet engine={name} agents={agents} echo_s={echo:.3} statement_s={statement:.3} first_row_s={:.3} ratio={:.2}",
        median(&samples.first_row),
        statement / echo
    );
    let [server, swarm, desk, broker, database, machine] = samples.cpu.map(|used| median(&used));
    println!(
        "bench-fleet cpu engine={name} agents={agents} server_s={server:.2} swarm_s={swarm:.2} desk_s={desk:.2} \
         broker_s={broker:.2} database_s={database:.2} others_s={:.2} command_bytes={} answer_bytes={} statement_min_s={:.3} statement_max_s={:.3}",
        (machine - server - swarm - desk - broker - database).max(0.0),
        bytes.command,
        bytes.answer,
        samples.statement.iter().copied().fold(f64::INFINITY, f64::min),
        samples.statement.iter().copied().fold(0.0, f64::max),
    );
    Ok(())
}

/// Starts a swarm, and prints how long all its agents took to enrol or log in, connect and be heard, and what that cost.
fn connect(bench: &Bench, agents: u32) -> Result<Running> {
    let (before, began) = (used_by_services(bench)?, Instant::now());
    let swarm = bench.yard.start_swarm(agents, &[])?;
    let took = began.elapsed().as_secs_f64();
    let [server, broker, database] = used_by_services(bench)?;
    println!(
        "bench-fleet connect engine={} agents={agents} connect_s={took:.3} server_s={:.2} broker_s={:.2} database_s={:.2}",
        bench.engine.name(),
        server - before[0],
        broker - before[1],
        database - before[2],
    );
    Ok(swarm)
}

/// A figure of a statement that not everybody answered would be none.
fn check(asked: &Asked, agents: u32) -> Result<()> {
    let all = format!("from {agents} of {agents} hosts · {agents} answered · ");
    if !asked.footer.contains(&all) {
        bail!("not everybody answered: {}", asked.footer);
    }
    Ok(())
}

fn used(bench: &Bench, swarm: u32, desk: u32) -> Result<[f64; 6]> {
    let [server, broker, database] = used_by_services(bench)?;
    let (swarm, desk) = (cpu::of_process(swarm)?, cpu::of_process(desk)?);
    Ok([server, swarm, desk, broker, database, cpu::of_machine()?])
}

/// Of the server, the broker and the database.
fn used_by_services(bench: &Bench) -> Result<[f64; 3]> {
    let family = |id: Option<u32>| id.map_or(Ok(0.0), cpu::of_family);
    let (postgres, rabbitmq) = match &bench.services {
        Some((postgres, rabbitmq)) => (postgres.id(), rabbitmq.id()),
        None => (None, None),
    };
    Ok([cpu::of_process(bench.yard.server_id()?)?, family(rabbitmq)?, family(postgres)?])
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
