//! Payments and letters as the changes of their desks add up, measured against what really happened.

use actors::keyed::Entry;
use actors::machine::Machine;
use actors::notice::{self, Notifier};
use actors::payment::{self, PaymentDesk};
use actors::time::Millis;

use super::{LetterStage, Model, PaymentStage, Violation, must};
use crate::gateway::Provider;

impl Model {
    pub(crate) fn payment(
        &mut self,
        at: Millis,
        provider: &Provider,
        entry: &Entry<<PaymentDesk as Machine>::Change, payment::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        use payment::Change;
        let (id, stage) = match change {
            Change::Asked { payment, order, .. } => {
                let known = self.payments.insert(*payment, (*order, PaymentStage::Calling));
                must!(known.is_none(), "payment {payment} is asked for twice");
                return Ok(());
            }
            Change::Called { payment, .. } => (*payment, PaymentStage::Calling),
            Change::Postponed { payment, .. } => (*payment, PaymentStage::Waiting),
            Change::Doubted { payment, .. } => (*payment, PaymentStage::Doubtful),
            Change::Captured { payment, .. } => {
                must!(provider.has_kept(*payment), "payment {payment} is captured, the provider says no");
                (*payment, PaymentStage::Captured)
            }
            Change::Failed { payment, .. } => (*payment, PaymentStage::Failed),
            Change::Refunding { payment, .. } => (*payment, PaymentStage::Refunding),
            Change::Refunded { payment, .. } => {
                must!(provider.has_returned(*payment), "payment {payment} is refunded, the provider says no");
                (*payment, PaymentStage::Refunded)
            }
            Change::Heard { payment } | Change::Reminded { payment, .. } => {
                must!(self.payments.contains_key(payment), "payment {payment} was never asked for");
                return Ok(());
            }
        };
        let known = self.payments.get_mut(&id).ok_or_else(|| format!("payment {id} was never asked for"))?;
        known.1 = stage;
        Ok(())
    }

    pub(crate) fn notice(
        &mut self,
        at: Millis,
        entry: &Entry<<Notifier as Machine>::Change, notice::Reply>,
    ) -> Result<(), Violation> {
        self.key(at, entry)?;
        let Entry::Change(change) = entry else { return Ok(()) };
        use notice::Change;
        let (id, stage) = match change {
            Change::Taken { letter, .. } => {
                let id = (letter.order, letter.kind);
                let known = self.letters.insert(id, LetterStage::Waiting);
                must!(known.is_none(), "the letter {:?} about {} is written twice", id.1, id.0);
                return Ok(());
            }
            Change::Delivered { order, kind, .. } => ((*order, *kind), LetterStage::Delivered),
            Change::Died { order, kind, .. } => ((*order, *kind), LetterStage::Dead),
            Change::Postponed { order, kind, .. } | Change::Retried { order, kind, .. } => {
                let stage = self.letters.get(&(*order, *kind));
                must!(stage == Some(&LetterStage::Waiting), "a letter about {order} is tried again as {stage:?}");
                return Ok(());
            }
            Change::Forgotten { until } => {
                must!(*until <= at, "letters are forgotten ahead of time");
                return Ok(());
            }
        };
        let known = self.letters.insert(id, stage);
        must!(known == Some(LetterStage::Waiting), "a letter about {} ends as {stage:?}, it was {known:?}", id.0);
        Ok(())
    }
}
