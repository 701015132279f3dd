//! What the README promises a newcomer: the demo, sold by the command that it prints, and audited.
//!
//! The demo's 60,000 places take a release build half a minute and a debug build many; so the demo is sold for a few
//! seconds here, and a smaller concert to its last place.

use serde_json::json;

use crate::load::Load;
use crate::server::Server;

/// The load generator's words in what the demo prints.
fn printed_command(said: &str) -> String {
    let (_, command) = said.split_once("-p loadgen -- ").expect("a command");
    let (command, _) = command.split_once("\n\n").expect("an end");
    command.replace('\\', " ")
}

#[test]
fn the_demo_is_sold_by_the_command_that_it_prints_and_killed_in_the_middle() {
    let mut demo = Server::start_demo();
    let command = printed_command(demo.said());
    for word in ["--event aurora-night-1", "--mix sellout", "--until-sold-out", "--audit"] {
        assert!(command.contains(word), "{word} in {command}");
    }
    let availability = demo.client().get("/v1/events/aurora-night-1/availability").expect(200);
    assert_eq!(availability["free"], 60_000);

    let command = command.replace("--until-sold-out", "").replace("--duration 10m", "--duration 8s");
    let mut load = Load::typed(&command);
    load.note_more(200_000);
    demo.kill();
    demo.restart();
    assert!(load.is_running(), "the sale goes on after the kill");
    let report = load.finish().clean();

    let sold = report["audit"]["checked"]["seats_sold"].as_u64().unwrap();
    let after = demo.client().get("/v1/events/aurora-night-1/availability").expect(200);
    let blocks = after["blocks"].as_array().unwrap();
    assert!(sold > 0);
    assert_eq!(blocks.iter().map(|block| block["sold"].as_u64().unwrap()).sum::<u64>(), sold);
    let seated = blocks.iter().filter(|block| block["block"] != "FLOOR" && block["sold"] != 0).count();
    assert!(seated > 50, "the sale spreads over the stadium: {seated} of 110 seated blocks");
}

#[test]
fn a_concert_is_sold_to_its_last_place_although_the_node_is_killed() {
    let mut server = Server::start();
    let flags = "--closed --connections 32 --mix sellout --until-sold-out --duration 120s --blocks 8 --seats 2400 \
         --seats-per-row 25 --standing 600 --customers 1500 --max-per-customer 10";
    let mut load = Load::start(&server, flags);
    load.note_more(250_000);
    server.kill();
    server.restart();
    let report = load.finish().clean();
    assert_eq!(report["audit"]["checked"]["seats_sold"], json!(3_000));
    let event = format!("/v1/events/{}-1", report["run"].as_str().unwrap());
    let audit = server.organizer().get(&format!("{event}/audit")).expect(200);
    assert_eq!((&audit["seats"]["sold"], &audit["violations"]), (&json!(3_000), &json!([])));
    assert_eq!(audit["captured"], audit["paid"]);
}
