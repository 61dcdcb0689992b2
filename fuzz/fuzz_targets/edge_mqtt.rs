//! Any bytes at all as what a broker says, in MQTT 3.1.1 and 5.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| peaberry_edge::uplink::mqtt::read_any_mqtt_bytes(bytes));
