//! What a backup and a restore need of a deployment as a whole: its record, its streams, its numbers.
//!
//! A restored deployment is another one: it has a new id, so that no node brings what it remembers of the old one, and its
//! streams number their messages from far above every number of the old one, so that no append that was on its way to
//! the old one can ever meet its condition in the new one.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Info;
use futures_util::future::try_join_all;

use super::{Away, ConnectError, Deployment, Nats, deployment, streams};

/// The setting that names the deployment that a restored one was restored from.
const RESTORED_FROM: &str = "deployment.restored_from";

impl Deployment {
    /// Another deployment that goes on from this one.
    #[must_use]
    pub fn restored(&self) -> Deployment {
        let mut restored = Deployment { id: format!("{:032x}", rand::random::<u128>()), ..self.clone() };
        restored.settings.insert(RESTORED_FROM.to_owned(), self.id.clone());
        restored
    }

    /// The deployment that this one was restored from, if it was.
    #[must_use]
    pub fn restored_from(&self) -> Option<&str> {
        self.settings.get(RESTORED_FROM).map(String::as_str)
    }
}

impl Nats {
    /// The deployment under this name, without joining it.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn deployment(&self) -> Result<Option<Deployment>, ConnectError> {
        match streams::find(self, &self.meta_stream()).await? {
            Some(_) => deployment::read(self).await,
            None => Ok(None),
        }
    }

    /// The streams under this name that exist, and the greatest number that a message of any of them ever had.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn streams_found(&self) -> Result<(Vec<String>, u64), ConnectError> {
        let (mut found, mut greatest) = (Vec::new(), 0);
        for config in streams::wanted(self) {
            if let Some(info) = streams::find(self, &config.name).await? {
                greatest = greatest.max(info.state.last_sequence);
                found.push(config.name);
            }
        }
        Ok((found, greatest))
    }

    /// The last position of every journal stream at one moment, as good as that can be had: all leaders are asked at once,
    /// and how long it took until all had answered is said with it.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn moment(&self) -> Result<(Vec<u64>, Duration), ConnectError> {
        let began = Instant::now();
        let names = (0..self.options().streams).map(|k| self.journal_stream(k));
        let asked = names.map(|name| async move { streams::find(self, &name).await.map(|info| (name, info)) });
        let answers = try_join_all(asked).await?;
        let took = began.elapsed();
        let position = |(name, info): (String, Option<Info>)| match info {
            Some(info) => Ok(info.state.last_sequence),
            None => Err(ConnectError::unsuitable(format!("stream {name} is missing"))),
        };
        Ok((answers.into_iter().map(position).collect::<Result<_, _>>()?, took))
    }

    /// Makes the streams of a deployment, their messages to be numbered from `first`. There must be none.
    ///
    /// # Errors
    /// See [`ConnectError`]; some may have been made.
    pub async fn make_streams(&self, first: u64) -> Result<(), ConnectError> {
        for mut config in streams::wanted(self) {
            let wanted = config.clone();
            config.first_sequence = Some(first);
            let made = self.jetstream().create_stream(config).await;
            let made = made.map_err(|error| Away::new(&wanted.name, error))?;
            streams::compare(self, &wanted, made.cached_info())?;
        }
        Ok(())
    }

    /// Writes the record of a deployment that is complete now.
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::Unsuitable`] when somebody else wrote one meanwhile.
    pub async fn found(&self, ours: &Deployment) -> Result<(), ConnectError> {
        let agreed = deployment::write(self, ours).await?;
        if agreed.id == ours.id {
            return Ok(());
        }
        Err(ConnectError::unsuitable(format!(
            "deployment {} came into being under the name {:?} meanwhile: was a node started?",
            agreed.id,
            self.name()
        )))
    }
}
