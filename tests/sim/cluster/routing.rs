//! The way of a command to the node that owns its shard, as every node finds it for its own customers.
//!
//! What was surely not done is asked again of whoever owns the shard by then, for a while; an outcome that is not known is
//! asked for once more only under a key. The bus repeats no ask: what it says was not done would mean nothing otherwise.

use actors::address::Address;
use actors::ids::Shard;
use actors::keyed::{Answer, Asked};
use actors::message::{Message, Reply};
use actors::time::{Millis, Span};
use stampede::cluster::keeper::Role;

use super::links::Ways;
use super::{Cluster, Happening};
use crate::coverage::Fault;
use crate::node::{Caller, Mail};
use crate::planted::Planted;
use crate::site::Place;
use crate::world::{Event, Failure, Step, World};

/// How long a request waits for a shard that is between two owners.
const OWNER_WAIT: Span = Span(3000);

/// How long another node may take for an ask.
const ASK_PATIENCE: Span = Span(2500);

/// How soon an owner that was not there is looked for again.
const LOOK_AGAIN: Span = Span(20);

/// A request of a customer that a node has taken in.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    caller: Caller,
    to: Address,
    asked: Asked<Message>,
    until: Millis,
    /// Counts the times it was asked of somebody.
    tries: u32,
    /// An outcome was unknown, and it was asked for once more.
    asked_again: bool,
}

/// Where a command goes.
enum Way {
    Here,
    NotNow,
    There(Place),
    Nowhere,
}

impl World<Cluster> {
    /// A request comes to some node.
    pub(super) fn set_out(&mut self, to: Address, mail: Mail) {
        let Some(caller) = mail.from else { return };
        let node = self.chance.index(self.site.nodes.len());
        let place = Place { node, life: self.site.nodes[node].life };
        let (number, until) = (self.site.number(), self.now + OWNER_WAIT);
        let errand = Errand { caller, to, asked: mail.asked, until, tries: 0, asked_again: false };
        match self.site.process(place) {
            Some(process) => {
                process.errands.insert(number, errand);
                self.after(Span(0), Event::Site(Happening::ErrandGoes { place, errand: number }));
            }
            // Nobody listens there.
            None => self.reply(caller, Err(Failure::NotDone)),
        }
    }

    fn way_to(&mut self, place: Place, shard: Shard) -> Way {
        let now = self.now;
        let Some(process) = self.site.process(place) else { return Way::Nowhere };
        let owner = process.keeper.owner(shard, now).map(|(node, _)| node.clone());
        match owner {
            None => Way::Nowhere,
            Some(owner) if owner == *process.keeper.me() => {
                if self.may_answer(place, shard) {
                    Way::Here
                } else {
                    Way::NotNow
                }
            }
            Some(owner) => self.site.place_of(&owner.name, owner.incarnation).map_or(Way::Nowhere, Way::There),
        }
    }

    /// Whether nobody else can have become the owner unnoticed.
    fn may_answer(&mut self, place: Place, shard: Shard) -> bool {
        let (now, ignores) = (self.now, self.bug == Some(Planted::LeaseIgnored));
        let Some(process) = self.site.process(place) else { return false };
        let leased = now < process.keeper.lease_until();
        match process.keeper.role(shard) {
            Role::Owning { trusted, .. } => leased && trusted || ignores,
            Role::Idle | Role::Following { .. } | Role::Claiming { .. } | Role::Releasing { .. } => false,
        }
    }

    /// Whether a node may still do what a shard of its owes to the world; also while it gives the shard up.
    pub(super) fn may_act_for(&mut self, place: Place, shard: Shard) -> bool {
        let now = self.now;
        let leaves = self.site.hosting(place, shard).is_some_and(|hosting| hosting.leaves_at.is_some());
        let Some(process) = self.site.process(place) else { return false };
        let leased = now < process.keeper.lease_until();
        leased && leaves || self.may_answer(place, shard)
    }

    /// Whether a shard on a node takes a message in.
    pub(super) fn may_come_in(&mut self, place: Place, to: &Address, mail: &Mail) -> Result<(), Failure> {
        let shard = self.shard_of(to);
        let here = self.site.hosting(place, shard).is_some_and(|hosting| hosting.leaves_at.is_none());
        if !here {
            return Err(Failure::Elsewhere);
        }
        if mail.from.is_some() && !self.may_answer(place, shard) {
            self.coverage.count("zombies refused: no lease or no trust");
            return Err(Failure::Elsewhere);
        }
        Ok(())
    }

    /// One try of an errand.
    pub(super) fn errand_goes(&mut self, place: Place, number: u64) -> Step {
        let now = self.now;
        let Some(process) = self.site.process(place) else { return Ok(()) };
        let leased = now < process.keeper.lease_until();
        let Some(errand) = process.errands.get_mut(&number) else { return Ok(()) };
        errand.tries += 1;
        let Errand { caller, to, asked, tries, asked_again, .. } = errand.clone();
        let caller = Caller { errand: Some((number, tries)), ..caller };
        let shard = self.shard_of(&to);
        match self.way_to(place, shard) {
            Way::Here => return self.arrive(place, to, Mail { asked, from: Some(caller) }),
            Way::There(_) | Way::Nowhere | Way::NotNow if !leased => {
                let failure = if asked_again { Failure::Unknown } else { Failure::NotDone };
                self.settle(place, number, Err(failure));
            }
            Way::There(owner) => {
                self.coverage.count("asks to another node");
                let ways = Ways { doubled: 0, ..self.site.rates.bus };
                self.after(ASK_PATIENCE, Event::Site(Happening::ErrandSilent { place, errand: number, tries }));
                for wait in self.way(place.node, owner.node, ways) {
                    let asked = Box::new(asked.clone());
                    let come = Happening::ErrandComes { place: owner, to: to.clone(), asked, caller, from: place };
                    self.after(wait, Event::Site(come));
                }
            }
            Way::Nowhere | Way::NotNow => return self.errand_returns(place, caller, Err(Failure::Elsewhere)),
        }
        Ok(())
    }

    /// An ask of another node.
    pub(super) fn errand_comes(
        &mut self,
        place: Place,
        to: Address,
        asked: Asked<Message>,
        caller: Caller,
        from: Place,
    ) -> Step {
        self.arrive(place, to, Mail { asked, from: Some(Caller { edge: Some(from), ..caller }) })
    }

    /// An answer leaves the owner for the node that asked, which may be itself.
    pub(super) fn send_answer(&mut self, from: Place, caller: Caller, answer: Result<Answer<Reply>, Failure>) -> Step {
        let Some(edge) = caller.edge else { return self.errand_returns(from, caller, answer) };
        let ways = Ways { doubled: 0, ..self.site.rates.bus };
        for wait in self.way(from.node, edge.node, ways) {
            let answer = Box::new(answer.clone());
            self.after(wait, Event::Site(Happening::ErrandReturns { place: edge, caller, answer }));
        }
        Ok(())
    }

    pub(super) fn errand_silent(&mut self, place: Place, errand: u64, tries: u32) -> Step {
        let caller = Caller { wish: 0, attempt: 0, errand: Some((errand, tries)), edge: None };
        self.errand_returns(place, caller, Err(Failure::Unknown))
    }

    /// What became of a try.
    pub(super) fn errand_returns(
        &mut self,
        place: Place,
        caller: Caller,
        answer: Result<Answer<Reply>, Failure>,
    ) -> Step {
        let now = self.now;
        let Some((number, tries)) = caller.errand else { return Ok(()) };
        let Some(errand) = self.site.process(place).and_then(|process| process.errands.get_mut(&number)) else {
            return Ok(());
        };
        if errand.tries != tries {
            return Ok(());
        }
        match answer {
            Err(Failure::Elsewhere) if errand.asked_again => {}
            Err(Failure::Elsewhere) => {
                let caller = errand.caller;
                self.must_not_be_done(caller)?;
            }
            Err(Failure::Unknown) if errand.asked.key.is_some() && !errand.asked_again => errand.asked_again = true,
            // After an outcome that is not known "surely not done" is only the second try's word.
            Err(Failure::NotDone) if errand.asked_again => {
                self.settle(place, number, Err(Failure::Unknown));
                return Ok(());
            }
            settled => {
                self.settle(place, number, settled);
                return Ok(());
            }
        }
        let Some(errand) = self.site.process(place).and_then(|process| process.errands.get_mut(&number)) else {
            return Ok(());
        };
        let (asked_again, over) = (errand.asked_again, now >= errand.until);
        // The try that was answered is over: a late second answer says nothing.
        errand.tries += 1;
        if over {
            let failure = if asked_again { Failure::Unknown } else { Failure::NotDone };
            self.settle(place, number, Err(failure));
            return Ok(());
        }
        self.coverage.count("asked again of the next owner");
        self.after(LOOK_AGAIN, Event::Site(Happening::ErrandGoes { place, errand: number }));
        Ok(())
    }

    fn settle(&mut self, place: Place, number: u64, answer: Result<Answer<Reply>, Failure>) {
        let errand = self.site.process(place).and_then(|process| process.errands.remove(&number));
        if let Some(Errand { caller, .. }) = errand {
            self.reply(caller, answer);
        }
    }

    /// A message of a machine, to wherever its shard lives.
    pub(super) fn tell_owner(&mut self, from: Place, to: Address, mail: Mail) -> Step {
        let shard = self.shard_of(&to);
        if self.site.hosting(from, shard).is_some() {
            return self.arrive(from, to, mail);
        }
        let Way::There(owner) = self.way_to(from, shard) else { return Ok(()) };
        self.coverage.count("messages to another node");
        let copies = self.way(from.node, owner.node, self.site.rates.bus);
        match copies.len() {
            0 => self.meets(&mail.asked.command, Fault::MessageLost),
            1 => {}
            _ => self.meets(&mail.asked.command, Fault::MessageTwice),
        }
        for wait in copies {
            let mail = Box::new(mail.clone());
            self.after(wait, Event::Delivered { place: owner, to: to.clone(), mail });
        }
        Ok(())
    }
}
