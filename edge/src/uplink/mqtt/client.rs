//! What the versions share: rumqttc has a client for each, alike in everything but their types.

/// A `Client` for the `AsyncClient`, `Filter`, `Publish` and `QoS` in scope, and what QoS is in their words and ours. `$publish` is a
/// publication of theirs, of which only the packet number matters.
macro_rules! client {
    ($publish:expr) => {
        struct Client(AsyncClient);

        impl Requests for Client {
            fn publish(&self, message: Message) -> bool {
                let (topic, qos) = (&*message.topic, theirs(message.qos));
                self.0
                    .try_publish(topic, qos, message.is_retained, message.payload)
                    .is_ok()
            }

            fn subscribe(&self, filters: Vec<String>) -> bool {
                let filters = filters.into_iter();
                let filters = filters.map(|filter| Filter::new(filter, QoS::AtLeastOnce));
                self.0.try_subscribe_many(filters).is_ok()
            }

            fn unsubscribe(&self, filter: &str) -> bool {
                self.0.try_unsubscribe(filter).is_ok()
            }

            fn acknowledge(&self, packet_id: u16) -> bool {
                let mut publish: Publish = $publish;
                publish.pkid = packet_id;
                self.0.try_ack(&publish).is_ok()
            }
        }

        const fn theirs(qos: Qos) -> QoS {
            match qos {
                Qos::AtMostOnce => QoS::AtMostOnce,
                Qos::AtLeastOnce => QoS::AtLeastOnce,
            }
        }

        const fn ours(qos: QoS) -> Qos {
            match qos {
                QoS::AtMostOnce => Qos::AtMostOnce,
                QoS::AtLeastOnce | QoS::ExactlyOnce => Qos::AtLeastOnce,
            }
        }
    };
}

pub(super) use client;
