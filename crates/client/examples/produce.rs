//! Creates a topic if need be and writes ten orders: `cargo run -p pagemark-client --example produce -- 127.0.0.1:9092`.

use pagemark_client::{Admin, Code, Compression, NewTopic, Producer, ProducerRecord};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let created = Admin::builder(&bootstrap).build()?.create_topic(NewTopic::new("orders").partitions(4)).await;
    if let Err(error) = created
        && error.code() != Some(Code::TOPIC_ALREADY_EXISTS)
    {
        return Err(error.into());
    }
    let producer = Producer::builder(&bootstrap).compression(Compression::Zstd).build()?;
    let mut deliveries = Vec::new();
    for n in 0..10 {
        let record = ProducerRecord::to("orders").key(format!("customer-{}", n % 3)).value(format!("order {n}"));
        deliveries.push(producer.send(record).await?); // taken in, in order
    }
    for delivery in deliveries {
        let written = delivery.await?; // acknowledged
        println!("{} offset {}", written.partition, written.offset.unwrap_or(-1));
    }
    producer.close().await;
    Ok(())
}
