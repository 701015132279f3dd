//! How wishes travel: sent, answered or not, tried again; and what an answer may never be.

use actors::keyed::Answer;
use actors::message::Reply;
use actors::order;
use actors::refusal::Refusal;
use actors::time::Span;

use crate::clients::{Asking, Wish};
use crate::model::must;
use crate::node::{Caller, Mail};
use crate::site::Site;
use crate::world::{Event, Failure, SKEW_MAX, Step, World};

/// How long a customer waits for an answer.
const PATIENCE: Span = Span::seconds(6);

impl<S: Site> World<S> {
    /// Somebody thinks of something, unless an earlier wish is on its way.
    pub(crate) fn think(&mut self, who: usize) {
        if self.calm {
            return;
        }
        let pace = self.plan.pace.0;
        let pace = if who == self.crowd.organizer() && !self.crowd.created { 300 } else { pace };
        let wait = Span(self.chance.between(pace / 4, pace * 7 / 4));
        self.after(wait, Event::Wish { who });
        if self.crowd.people[who].busy {
            return;
        }
        if self.chance.hit(60) && self.ask_twice() {
            return;
        }
        if let Some(wish) = self.crowd.wish(who, &mut self.chance) {
            let number = self.crowd.begin(who, wish, self.now, &mut self.chance);
            self.send(number);
        }
    }

    /// An earlier request with its key once more, or its key under another request.
    fn ask_twice(&mut self) -> bool {
        let now = self.now;
        let ttl = self.plan.policy.idempotency_ttl;
        let known = self.crowd.asking.iter().enumerate().filter(|(_, asking)| {
            let lasts = now + Span::seconds(25) < asking.first_sent + ttl;
            asking.key.is_some() && asking.told.is_some() && !asking.misuse && lasts
        });
        let known: Vec<usize> = known.map(|(number, _)| number).collect();
        let Some(number) = self.chance.pick(&known).copied() else { return false };
        let number = if self.chance.hit(300) { self.crowd.misuse(number, now) } else { number };
        self.coverage.count("same key again");
        self.send(number);
        true
    }

    pub(crate) fn send(&mut self, number: usize) {
        let (to, asked) = self.crowd.request(number, self.clock(), &mut self.chance);
        let acknowledged = self.truth.acknowledged(to.shard(self.plan.policy.shards));
        self.crowd.asking[number].known.push(acknowledged);
        let asking = &self.crowd.asking[number];
        let caller = Caller { wish: number, attempt: asking.attempt, errand: None, edge: None };
        match (&asking.wish, &asked.command) {
            (Wish::Hold(_, want), _) => {
                if let Some(hold) = asking.made.last().and_then(|made| made.first()) {
                    self.truth.model.wants.insert(*hold, want.clone());
                }
            }
            (Wish::Seek(quantity, _), _) => {
                for hold in asking.made.last().into_iter().flatten() {
                    let want = actors::block::Want::Best { quantity: *quantity, max_price: None };
                    self.truth.model.wants.insert(*hold, want);
                }
            }
            _ => {}
        }
        let who = self.crowd.people[self.crowd.asking[number].who].name.clone();
        self.note(|| format!("{who} sends {caller:?} {asked:?} to {to:?}"));
        self.after(PATIENCE, Event::Timeout { caller });
        let net = self.rates().net;
        if self.chance.hit(net.lost) {
            return;
        }
        let wait = if self.chance.hit(net.slow) { self.chance.between(100, 4000) } else { self.chance.between(1, 20) };
        self.after(Span(wait), Event::Arrive { to, mail: Box::new(Mail { asked, from: Some(caller) }) });
    }

    /// An answer, or the news that there is none, on its way to whoever asked.
    pub(crate) fn reply(&mut self, caller: Caller, answer: Result<Answer<Reply>, Failure>) {
        let net = self.rates().net;
        if self.chance.hit(net.lost) {
            self.coverage.count("answer lost");
            return;
        }
        let wait = if self.chance.hit(net.slow) { self.chance.between(100, 4000) } else { self.chance.between(1, 20) };
        self.after(Span(wait), Event::Answered { caller, answer: Box::new(answer) });
    }

    pub(crate) fn answered(&mut self, caller: Caller, answer: Result<Answer<Reply>, Failure>) -> Step {
        self.note(|| format!("heard {caller:?}: {answer:?}"));
        let asking = &self.crowd.asking[caller.wish];
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                if failure == Failure::NotDone {
                    self.must_not_be_done(caller)?;
                }
                if !self.crowd.asking[caller.wish].done && asking_is(caller, self) {
                    self.try_again(caller.wish);
                }
                return Ok(());
            }
        };
        if asking.misuse {
            let remembered = self.now < asking.first_sent + Span::seconds(20);
            let right = answer.result == Err(Refusal::IdempotencyKeyReused);
            must!(right || !remembered, "a key under another request is answered {answer:?}");
            return Ok(());
        }
        let result = match answer.result {
            Ok(Reply::Order(order::Reply::Sought { answer: None, .. })) => {
                // Not found yet: asked again a little later, under the same key.
                if !asking.done && asking_is(caller, self) {
                    self.after(Span(400), Event::Send { wish: caller.wish });
                }
                return Ok(());
            }
            Ok(Reply::Order(order::Reply::Sought { answer, .. })) => {
                Ok(Reply::Order(order::Reply::Sought { answer, replayed: false }))
            }
            other => other,
        };
        // What does not exist cannot remember a key: such a refusal is nobody's word.
        let of_nobody = matches!(result, Err(Refusal::UnknownBlock | Refusal::UnknownEvent));
        let remembered = self.remembers(asking) && !of_nobody;
        if let (Some(key), Some(told), true) = (asking.key, &asking.told, remembered) {
            must!(public(told) == public(&result), "key {:x} was answered {told:?} and now {result:?}", key.digest.0);
        }
        let who = asking.who;
        self.count_answer(caller.wish, &result);
        let asking = &mut self.crowd.asking[caller.wish];
        let first = asking.told.is_none() && !of_nobody;
        if first {
            asking.told = Some(result.clone());
        }
        if !std::mem::replace(&mut asking.done, true) {
            self.crowd.people[who].busy = false;
        }
        if let (Ok(reply), true) = (&result, first) {
            self.crowd.learn(who, reply);
        }
        Ok(())
    }

    /// Whether the node must still know the key, even when its clock was set forwards.
    pub(crate) fn remembers(&self, asking: &Asking) -> bool {
        self.now + Span(2 * SKEW_MAX) < asking.first_sent + self.plan.policy.idempotency_ttl
            && !self.was_made_again(asking)
    }

    /// Whether the customer overheard a hold that the block had forgotten before the desk could be told: then it was made
    /// once more, and that is what the desk knows.
    fn was_made_again(&self, asking: &Asking) -> bool {
        match &asking.told {
            Some(Ok(Reply::Order(order::Reply::Sought { answer: Some(found), .. }))) => {
                found.as_ref().as_ref().is_ok_and(|found| self.truth.model.holds_again.contains(&found.hold))
            }
            _ => false,
        }
    }

    /// What the node said was surely not done may not be found.
    pub(crate) fn must_not_be_done(&self, caller: Caller) -> Step {
        let made = self.crowd.asking[caller.wish].made.get(caller.attempt as usize - 1);
        for hold in made.into_iter().flatten() {
            let found = self.truth.model.blocks.values().any(|block| block.holds.contains_key(hold));
            must!(!found, "hold {hold} was said to be surely not made, and it is there");
        }
        Ok(())
    }

    pub(crate) fn timed_out(&mut self, caller: Caller) {
        if !self.crowd.asking[caller.wish].done && asking_is(caller, self) {
            self.coverage.count("outcome unknown to the customer");
            self.try_again(caller.wish);
        }
    }

    fn try_again(&mut self, number: usize) {
        let asking = &self.crowd.asking[number];
        let reads = matches!(asking.wish, Wish::ShowHold(..) | Wish::ShowOrder(..) | Wish::Create);
        let stays = (asking.key.is_some() || reads) && (self.calm || self.chance.hit(930));
        if stays {
            let wait = Span(self.chance.between(100, 2000));
            self.after(wait, Event::Send { wish: number });
        } else {
            let who = self.crowd.asking[number].who;
            self.crowd.asking[number].done = true;
            self.crowd.people[who].busy = false;
        }
    }

    fn count_answer(&mut self, number: usize, result: &Result<Reply, Refusal>) {
        let wish = match &self.crowd.asking[number].wish {
            Wish::Create => "create",
            Wish::Patch(_) => "patch",
            Wish::Open => "open",
            Wish::Pause => "pause",
            Wish::Close => "close",
            Wish::House(..) => "block seats",
            Wish::Unhouse(..) => "unblock seats",
            Wish::Refund(_) => "refund",
            Wish::CheckIn(_) => "check in",
            Wish::Hold(..) => "hold",
            Wish::Seek(..) => "search",
            Wish::Release(..) => "release",
            Wish::ShowHold(..) => "show hold",
            Wish::Place(..) => "order",
            Wish::Pay(..) => "pay again",
            Wish::Cancel(_) => "cancel",
            Wish::ShowOrder(_) => "show order",
        };
        let refused = match result {
            Ok(Reply::Order(order::Reply::Sought { answer: Some(answer), .. })) => answer.is_err(),
            other => other.is_err(),
        };
        self.coverage.count_answer(wish, refused);
    }
}

/// An answer without what a customer does not see of a search: the limit that the event had when it was answered.
pub(crate) fn public(answer: &Result<Reply, Refusal>) -> Result<Reply, Refusal> {
    let mut public = answer.clone();
    if let Ok(Reply::Order(order::Reply::Sought { answer: Some(answer), .. })) = &mut public
        && let Ok(found) = &mut **answer
    {
        found.max_per_customer = None;
    }
    public
}

/// Whether the latest try is the one that is spoken of.
fn asking_is<S: Site>(caller: Caller, world: &World<S>) -> bool {
    world.crowd.asking[caller.wish].attempt == caller.attempt
}
