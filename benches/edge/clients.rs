//! Raw rumqttc: a client for each device, as its documentation has it.

use std::time::Duration;

use peaberry_core::{Clock, SystemClock};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::Failure;
use crate::child::{HEARTBEAT, PERIOD, Task, Watch};

/// In so many groups, evenly over the period.
const GROUPS: u32 = 100;

pub(crate) async fn run(task: Task) -> Result<(), Failure> {
    let mut watch = Watch::start();
    let clock = SystemClock::new();
    let (up, mut ups) = tokio::sync::mpsc::unbounded_channel();
    let (accepted, mut acceptances) = tokio::sync::mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for device in 0..task.devices {
        let mut options = MqttOptions::new(format!("raw-{device}"), "127.0.0.1", task.port);
        options.set_inflight(10);
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut connection) = AsyncClient::new(options, 10);
        client.try_subscribe(format!("raw/{device}/down"), QoS::AtLeastOnce)?;
        let (up, accepted) = (up.clone(), accepted.clone());
        tokio::spawn(async move {
            loop {
                match connection.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let _ = up.send(());
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        let _ = accepted.send(());
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        clients.push(client);
    }
    for _ in 0..task.devices {
        ups.recv().await;
    }
    let mut interval = tokio::time::interval(PERIOD / GROUPS);
    let mut began = clock.now();
    let (mut sent, mut heard) = (0_u64, 0_u64);
    for round in 0..=task.periods {
        if round == 1 {
            watch.restart_cpu();
            began = clock.now();
        }
        for group in 0..GROUPS as usize {
            interval.tick().await;
            for (at, client) in clients
                .iter()
                .enumerate()
                .skip(group)
                .step_by(GROUPS as usize)
            {
                let topic = format!("raw/{at}/up");
                client
                    .publish(topic, QoS::AtLeastOnce, false, vec![7; 60])
                    .await?;
                sent += 1;
                if (round as usize + at).is_multiple_of(HEARTBEAT as usize) {
                    let topic = format!("raw/{at}/health");
                    client
                        .publish(topic, QoS::AtLeastOnce, false, vec![7; 40])
                        .await?;
                    sent += 1;
                }
            }
            while acceptances.try_recv().is_ok() {
                heard += 1;
            }
        }
    }
    watch.tell(clock.now().since(began));
    if heard < sent * 9 / 10 {
        return Err(format!("{heard} of {sent} accepted").into());
    }
    Ok(())
}
