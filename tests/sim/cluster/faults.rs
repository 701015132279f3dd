//! What goes wrong with nodes, the ways between them, and the journal's servers.

use actors::time::Span;

use super::links::Cut;
use super::{Cluster, Happening};
use crate::coverage::Fault;
use crate::world::{Event, World};

impl World<Cluster> {
    pub(super) fn fault(&mut self, fault: Happening) {
        match &fault {
            Happening::Resumes { node } => self.site.nodes[*node].paused = None,
            Happening::Reconnects { node } => self.site.nodes[*node].cut = Cut::default(),
            Happening::QuorumBack => self.site.stream.away = None,
            _ if self.calm => {}
            Happening::Stops { node } => self.pause(*node),
            _ => self.hits(fault),
        }
    }

    fn hits(&mut self, fault: Happening) {
        let every = self.site.rates.every;
        let mean = match fault {
            Happening::Kill => every.kill,
            Happening::Leave => every.leave,
            Happening::Pause => every.pause,
            Happening::CutOff => every.cut,
            _ => every.quorum,
        };
        self.again(mean, Event::Site(fault.clone()));
        let places = self.site.places();
        let Some(node) = self.chance.pick(&places).map(|place| place.node) else { return };
        match fault {
            Happening::Kill => {
                self.note(|| format!("node {node} is killed"));
                self.meets_all(Fault::Killed);
                self.end_life(node);
            }
            Happening::Leave => {
                self.note(|| format!("node {node} leaves"));
                if let Some(process) = &mut self.site.nodes[node].process {
                    process.keeper.leave();
                }
            }
            Happening::Pause => self.pause(node),
            Happening::CutOff => self.cut_off(node),
            _ => self.lose_quorum(),
        }
    }

    fn pause(&mut self, node: usize) {
        if self.site.nodes[node].paused.is_some() {
            return;
        }
        let wait = if self.chance.hit(300) { self.chance.between(50, 1400) } else { self.chance.between(1500, 15_000) };
        let until = self.now + Span(wait);
        self.note(|| format!("node {node} is stopped for {wait} ms"));
        self.meets_all(Fault::Paused);
        self.site.nodes[node].paused = Some(until);
        self.at(until, Event::Site(Happening::Resumes { node }));
    }

    fn cut_off(&mut self, node: usize) {
        let (out, back, with_server) = match self.chance.between(0, 3) {
            0 => (true, false, false),
            1 => (false, true, false),
            2 => (true, true, false),
            _ => (true, true, true),
        };
        let cut = Cut { out, back, with_server };
        let wait = Span(self.chance.between(200, 12_000));
        self.note(|| format!("node {node} is cut off for {wait:?}: {cut:?}"));
        self.meets_all(Fault::CutOff);
        self.coverage.count(match (out, back) {
            _ if with_server => "cut off with a server",
            (true, true) => "cut off both ways",
            (true, false) => "cut off, is not heard",
            _ => "cut off, does not hear",
        });
        self.site.nodes[node].cut = cut;
        self.after(wait, Event::Site(Happening::Reconnects { node }));
    }

    fn lose_quorum(&mut self) {
        if self.site.stream.away.is_some() {
            return;
        }
        let until = self.now + Span(self.chance.between(200, 8000));
        self.note(|| format!("the journal has no quorum until {until:?}"));
        self.meets_all(Fault::NoQuorum);
        self.site.stream.away = Some(until);
        self.at(until, Event::Site(Happening::QuorumBack));
    }

    /// Faults end: whoever is away comes back by itself, as the queue says.
    pub(super) fn all_heals(&mut self) {
        self.site.stream.away = None;
        for node in &mut self.site.nodes {
            node.cut = Cut::default();
        }
        self.site.calm_since = Some(self.now);
    }
}
