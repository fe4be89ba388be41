//! What a test asks of the broker.

use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::Result;

/// Confirms awaited at once.
const BATCH: u32 = 1000;

async fn open(url: &str) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

pub async fn declare(url: &str, queue: &str) -> Result<()> {
    let (connection, channel) = open(url).await?;
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    Ok(connection.close(200, "OK".into()).await?)
}

pub async fn delete(url: &str, queue: &str) -> Result<()> {
    let (connection, channel) = open(url).await?;
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    Ok(connection.close(200, "OK".into()).await?)
}

/// Prints ready messages and consumers.
pub async fn depth(url: &str, queue: &str) -> Result<()> {
    let (connection, channel) = open(url).await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    println!("{} {}", found.message_count(), found.consumer_count());
    Ok(connection.close(200, "OK".into()).await?)
}

/// Publishes messages with the ids `first..first + count`, persistent, and fails unless the broker confirms each.
pub async fn publish(url: &str, queue: &str, first: u32, count: u32) -> Result<()> {
    let (connection, channel) = open(url).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let last = first.checked_add(count).ok_or("too many messages")?;
    let ids: Vec<u32> = (first..last).collect();
    for batch in ids.chunks(BATCH as usize) {
        let mut confirms = Vec::with_capacity(batch.len());
        for id in batch {
            let id = id.to_string();
            let properties = BasicProperties::default().with_message_id(id.as_str().into()).with_delivery_mode(2);
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let sent = channel.basic_publish("".into(), queue.into(), options, id.as_bytes(), properties).await?;
            confirms.push(sent);
        }
        for confirm in try_join_all(confirms).await? {
            if !confirm.is_ack() || confirm.take_message().is_some() {
                return Err(format!("the broker did not take a message for {queue}").into());
            }
        }
    }
    Ok(connection.close(200, "OK".into()).await?)
}
