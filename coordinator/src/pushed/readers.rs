//! How far jobs have read the logs of pushed rows, as their checkpoints have it.

use std::collections::BTreeMap;

use tidemill_plans::ids::{Epoch, JobId};
use tidemill_plans::pushed::LogNeed;

/// What the jobs of this process need. Of a job that nothing is known of, nobody knows what it needs: all.
#[derive(Debug, Default)]
pub(super) struct Readers(BTreeMap<(JobId, String), Reader>);

/// One job that reads one log.
#[derive(Debug, Default)]
struct Reader {
    /// From which segment on a checkpoint of an epoch needs it, sealed or not. Few: one is on its way at a time.
    needed: BTreeMap<Epoch, u64>,
    /// The oldest checkpoint that is kept.
    oldest: Option<Epoch>,
}

impl Readers {
    /// Notes what a checkpoint of a job needs. Of an epoch that two attempts have come to, both count.
    pub(super) fn note(&mut self, job: JobId, epoch: Epoch, need: LogNeed) {
        let reader = self.0.entry((job, need.source)).or_default();
        let segment = reader.needed.entry(epoch).or_insert(need.segment);
        *segment = need.segment.min(*segment);
    }

    /// No checkpoint of a job from before an epoch is kept any more. Returns the sources whose logs it reads.
    pub(super) fn keep_from(&mut self, job: JobId, oldest: Epoch) -> Vec<String> {
        let mut sources = Vec::new();
        for ((_, source), reader) in self.0.iter_mut().filter(|((reads, _), _)| *reads == job) {
            reader.needed = reader.needed.split_off(&oldest);
            reader.oldest = Some(oldest);
            sources.push(source.clone());
        }
        sources
    }

    /// From which segment on a job needs a log.
    pub(super) fn needed_by(&self, job: JobId, source: &str) -> u64 {
        let reader = self.0.get(&(job, source.to_owned()));
        reader.and_then(|reader| reader.needed.get(&reader.oldest?)).copied().unwrap_or(0)
    }

    /// What a checkpoint of a job needs.
    pub(super) fn needed_at(&self, job: JobId, epoch: Epoch) -> Vec<LogNeed> {
        let of_job = self.0.iter().filter(|((reads, _), _)| *reads == job);
        let needs = of_job.filter_map(|((_, source), reader)| {
            Some(LogNeed { source: source.clone(), segment: *reader.needed.get(&epoch)? })
        });
        needs.collect()
    }

    /// Forgets the jobs that read a log but for these.
    pub(super) fn retain(&mut self, source: &str, jobs: &[JobId]) {
        self.0.retain(|(job, reads), _| reads != source || jobs.contains(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_needs_what_its_oldest_checkpoint_does() {
        let (job, mut readers) = (JobId(3), Readers::default());
        let need = |segment| LogNeed { source: String::from("s"), segment };
        readers.note(job, Epoch(4), need(5));
        assert_eq!(readers.needed_by(job, "s"), 0);
        readers.note(job, Epoch(5), need(7));
        readers.note(job, Epoch(5), need(6));
        assert_eq!(readers.keep_from(job, Epoch(4)), ["s"]);
        assert_eq!((readers.needed_by(job, "s"), readers.needed_at(job, Epoch(5))), (5, vec![need(6)]));
        readers.keep_from(job, Epoch(5));
        assert_eq!((readers.needed_by(job, "s"), readers.needed_at(job, Epoch(4))), (6, Vec::new()));
        // One that nobody has told of.
        readers.keep_from(job, Epoch(9));
        assert_eq!((readers.needed_by(job, "s"), readers.needed_by(job, "t")), (0, 0));
        readers.note(JobId(4), Epoch(1), need(1));
        readers.retain("s", &[JobId(4)]);
        assert_eq!((readers.keep_from(job, Epoch(1)), readers.keep_from(JobId(4), Epoch(1)).len()), (Vec::new(), 1));
    }
}
