//! The echo over RabbitMQ: queues of the kind that the product declares, answers acknowledged.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Bytes, OPENING_MAX};

/// The exchange that agents answer to, and the queue behind it.
const ANSWERS: &str = "echo.answers";
/// As the server's: answers handed over before they are taken, how many are acknowledged at once, and an agent's queue.
const PREFETCH: u16 = 64;
const ACK_EACH: u32 = 16;
const QUEUE_MAX: i32 = 1024;
const UNUSED_MS_MAX: i32 = 10 * 60 * 1000;

pub async fn measure(url: &str, agents: u32, bytes: Bytes, runs: usize) -> Result<Vec<f64>> {
    let (_server, channel, mut answers) = serve(url).await?;
    let gate = Arc::new(Semaphore::new(OPENING_MAX));
    let mut opening = JoinSet::new();
    for number in 0..agents {
        let (url, gate, channel) = (format!("{url}?frame_max=8192&heartbeat=600"), gate.clone(), channel.clone());
        opening.spawn(async move {
            let _permit = gate.acquire_owned().await?;
            declare(&channel, number).await?;
            open(&url, number).await
        });
    }
    // Ends all of them where it is dropped.
    let mut echoing = JoinSet::new();
    while let Some(opened) = opening.join_next().await {
        echoing.spawn(echo(opened??, bytes.answer));
    }
    let mut taken = Vec::with_capacity(runs);
    // The first run warms, and is not counted.
    for _ in 0..=runs {
        taken.push(round(&channel, &mut answers, agents, bytes).await?);
    }
    taken.remove(0);
    Ok(taken)
}

async fn round(channel: &Channel, answers: &mut Consumer, agents: u32, bytes: Bytes) -> Result<f64> {
    let command = vec![b'x'; bytes.command];
    let started = Instant::now();
    let publish = async {
        for number in 0..agents {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish("".into(), queue(number).into(), options, &command, properties).await?;
        }
        anyhow::Ok(())
    };
    let take = async {
        for number in 1..=agents {
            let delivery = answers.next().await.context("the broker has gone")??;
            if delivery.data.len() != bytes.answer {
                bail!("an answer has {} bytes", delivery.data.len());
            }
            if number.is_multiple_of(ACK_EACH) || number == agents {
                delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(publish, take)?;
    Ok(started.elapsed().as_secs_f64())
}

async fn serve(url: &str) -> Result<(Connection, Channel, Consumer)> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let none = FieldTable::default;
    channel.exchange_declare(ANSWERS.into(), ExchangeKind::Direct, ExchangeDeclareOptions::default(), none()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(ANSWERS.into(), durable, classic()).await?;
    channel.queue_bind(ANSWERS.into(), ANSWERS.into(), "".into(), QueueBindOptions::default(), none()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let answers = channel.basic_consume(ANSWERS.into(), "echo".into(), BasicConsumeOptions::default(), none()).await?;
    Ok((connection, channel, answers))
}

async fn declare(channel: &Channel, number: u32) -> Result<()> {
    let mut arguments = classic();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(UNUSED_MS_MAX));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_MAX));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue(number).into(), durable, arguments).await?;
    Ok(())
}

fn classic() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments
}

async fn open(url: &str, number: u32) -> Result<(Connection, Channel, Consumer)> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let commands = channel.basic_consume(queue(number).into(), "agent".into(), options, FieldTable::default()).await?;
    Ok((connection, channel, commands))
}

async fn echo((_connection, channel, mut commands): (Connection, Channel, Consumer), bytes: usize) -> Result<()> {
    let answer = vec![b'y'; bytes];
    while let Some(command) = commands.next().await {
        command?;
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish(ANSWERS.into(), "".into(), options, &answer, properties).await?;
    }
    Ok(())
}

async fn connect(url: &str) -> Result<Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    Ok(Connection::connect_with_runtime(url, ConnectionProperties::default(), runtime).await?)
}

fn queue(number: u32) -> String {
    format!("echo.agent.{number}")
}
