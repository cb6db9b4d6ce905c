//! Questions that come while another is being answered, answered together.
//!
//! A fleet that reconnects asks the store the same thing for each node within a second or two. One transaction for all
//! that wait costs about as much as one for each of them.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

/// The most questions in one transaction.
const MAX: usize = 1000;

/// Gathers questions of one kind. Whoever's turn it is answers for all that wait, so that nobody waits for a clock.
#[derive(Debug)]
pub struct Gather<Q, A> {
    waiting: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl<Q, A> Default for Gather<Q, A> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<Q: Clone, A> Gather<Q, A> {
    /// Asks; `answer` is given this question and others, and returns as many answers in the same order. It runs after
    /// this call began, so that the answer is not older than the question.
    ///
    /// # Cancellation
    /// Dropping the future is safe: the others' questions are asked again.
    pub async fn ask<F>(&self, question: Q, answer: impl FnOnce(Vec<Q>) -> F) -> A
    where
        F: Future<Output = Vec<A>>,
    {
        let mut mine = self.put(question.clone());
        let _turn = self.turn.lock().await;
        loop {
            match mine.try_recv() {
                Ok(found) => return found,
                Err(oneshot::error::TryRecvError::Empty) => break,
                // Whoever was answering went away.
                Err(oneshot::error::TryRecvError::Closed) => mine = self.put(question.clone()),
            }
        }
        let (mut questions, mut replies) = (vec![question], Vec::new());
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // One's own is among them; who went away needs no answer.
            mine.close();
            waiting.retain(|(_, reply)| !reply.is_closed());
            let count = waiting.len().min(MAX - 1);
            for (question, reply) in waiting.drain(..count) {
                questions.push(question);
                replies.push(reply);
            }
        }
        let mut answers = answer(questions).await.into_iter();
        let own = answers.next().expect("there is an answer to each question");
        for (reply, found) in replies.into_iter().zip(answers) {
            // Who went away meanwhile needs no answer.
            drop(reply.send(found));
        }
        own
    }

    fn put(&self, question: Q) -> oneshot::Receiver<A> {
        let (reply, mine) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((question, reply));
        mine
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Waker},
    };

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn each_gets_its_own_answer_and_few_calls_are_made() {
        let gather = Arc::new(Gather::<u32, u32>::default());
        let calls = Arc::new(AtomicUsize::new(0));
        let asks = (0..500).map(|n| {
            let (gather, calls) = (gather.clone(), calls.clone());
            async move {
                gather
                    .ask(n, |questions| async move {
                        calls.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        questions.iter().map(|q| q * 2).collect()
                    })
                    .await
            }
        });
        let answers = join_all(asks).await;
        assert_eq!(answers, (0..500).map(|n| n * 2).collect::<Vec<_>>());
        assert!(calls.load(Ordering::SeqCst) <= 3, "all that waited were answered together");
    }

    #[tokio::test]
    async fn whoever_answered_may_go_away() {
        let gather = Arc::new(Gather::<u32, u32>::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(gather.ask(1, |_| std::future::pending()));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let second = gather.ask(2, |questions| async move { questions });
        let mut second = Box::pin(second);
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert_eq!(second.await, 2);
    }
}
