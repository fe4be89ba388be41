//! Who gets which answer, how long it is kept, and how it is packed.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::*;

const TRUE: While = While::Same(Some(1), Some(1));

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.json).unwrap()
}

async fn get(answers: &Answers, key: &str, valid: While, json: &str) -> Arc<Answer> {
    let json = json.to_owned();
    answers.get(key, valid, async move { Ok(json.into_bytes()) }).await.unwrap()
}

#[tokio::test]
async fn an_answer_is_kept_as_long_as_it_is_true() {
    let answers = Answers::default();
    let ask = |valid, json| get(&answers, "/x", valid, json);
    ask(TRUE, "1").await;
    assert_eq!(text(&*ask(TRUE, "2").await), "1");
    assert_eq!(text(&*ask(While::Same(Some(2), Some(1)), "3").await), "3", "another turn");
    assert_eq!(text(&*ask(While::Same(Some(2), Some(2)), "4").await), "4", "something was written");
    assert_eq!(text(&*ask(While::Same(None, Some(2)), "5").await), "5", "the present is not known");
    assert_eq!(text(&*ask(While::Same(None, Some(2)), "6").await), "6", "what is not known is not the same");
    assert_eq!(text(&*get(&answers, "/y", While::Same(None, Some(2)), "7").await), "7", "another question");
    assert_eq!(text(&*ask(While::Now, "8").await), "8");
    assert_eq!(text(&*ask(While::Now, "9").await), "9");
    let long = While::For(Duration::from_secs(3600));
    ask(long, "10").await;
    assert_eq!(text(&*ask(long, "11").await), "10");
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(text(&*ask(While::For(Duration::from_millis(1)), "12").await), "12");
}

#[tokio::test]
async fn an_error_is_not_kept_and_says_what_to_do() {
    let answers = Answers::default();
    let failed = answers.get("/x", TRUE, async { Err(PortError::Busy) }).await.err().unwrap();
    assert!(failed.status == 503 && failed.retry && failed.detail.contains("try again"), "{failed:?}");
    assert_eq!(text(&*get(&answers, "/x", TRUE, "1").await), "1");
}

#[tokio::test]
async fn those_who_wait_share_one_answer_and_nobody_gets_an_older_one() {
    let answers = Arc::new(Answers::default());
    let made = Arc::new(AtomicUsize::new(0));
    let (release, held) = oneshot::channel::<()>();
    let first = {
        let answers = answers.clone();
        tokio::spawn(async move {
            let make = async {
                held.await.unwrap();
                Ok(b"first".to_vec())
            };
            answers.get("/x", While::Now, make).await.unwrap()
        })
    };
    // It holds the slot when this one has come back.
    while answers.slot("/x").try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..20)
        .map(|_| {
            let (answers, made) = (answers.clone(), made.clone());
            tokio::spawn(async move {
                let make = async {
                    made.fetch_add(1, Ordering::SeqCst);
                    Ok(b"later".to_vec())
                };
                answers.get("/x", While::Now, make).await.unwrap()
            })
        })
        .collect();
    // Each of them holds the slot by now, and waits for the lock.
    while Arc::strong_count(&answers.slot("/x")) < 23 {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    assert_eq!(text(&first.await.unwrap()), "first");
    for other in others {
        assert_eq!(text(&other.await.unwrap()), "later", "nobody gets what was begun before it asked");
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_kept_has_bounds() {
    let answers = Answers::default();
    let count = || answers.slots.lock().unwrap().len();
    for n in 0..KEPT_MAX + 20 {
        get(&answers, &format!("/{n}"), TRUE, "x").await;
    }
    assert_eq!(count(), KEPT_MAX);
    assert_eq!(text(&*get(&answers, &format!("/{}", KEPT_MAX + 19), TRUE, "y").await), "x", "the newest are kept");
    get(&answers, &"/".repeat(KEY_MAX + 1), TRUE, "x").await;
    assert_eq!(count(), KEPT_MAX, "a long question is not kept");
    let large = "x".repeat(BYTES_MAX / 2 + 1);
    get(&answers, "/a", TRUE, &large).await;
    get(&answers, "/b", TRUE, &large).await;
    assert_eq!(count(), 1, "the older of the two went, and all that was older");
    let errors = (0..10).map(|n| format!("/e{n}"));
    for key in errors {
        let _ = answers.get(&key, TRUE, async { Err(PortError::Busy) }).await;
    }
    get(&answers, "/c", TRUE, "x").await;
    assert_eq!(count(), 2, "a slot without an answer goes");
}

#[tokio::test]
async fn large_answers_are_packed_once_for_those_who_take_it() {
    let mut takes = HeaderMap::new();
    takes.insert(hyper::header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let large = Answer::new("[1,2,3]".repeat(1000));
    let body = |response: Response| async { axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap() };
    let packed = large.clone().respond(&takes).await;
    assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(packed.headers()[VARY], "Accept-Encoding");
    let (one, other) = (body(packed).await, body(large.clone().respond(&takes).await).await);
    assert_eq!(one.as_ptr(), other.as_ptr());
    assert!(one.len() < 100, "{}", one.len());
    let plain = large.clone().respond(&HeaderMap::new()).await;
    assert_eq!(plain.headers()[VARY], "Accept-Encoding", "a cache must not mix them up");
    assert_eq!(body(plain).await.len(), 7000);
    let small = Answer::new("[]").respond(&takes).await;
    assert!(!small.headers().contains_key(CONTENT_ENCODING) && small.headers()[CONTENT_TYPE] == "application/json");
}

#[tokio::test]
async fn what_brings_no_answer_leaves_nothing_behind() {
    let answers = Answers::default();
    for n in 0..1000 {
        let none = async { Err(PortError::NotFound("nothing".into())) };
        assert!(answers.get(&format!("/x/{n}"), While::Now, none).await.is_err());
    }
    // Nor does one that was given up.
    let given_up = answers.get("/slow", While::Now, std::future::pending());
    assert!(tokio::time::timeout(Duration::from_millis(5), given_up).await.is_err());
    assert_eq!(answers.clone_keys(), Vec::<String>::new());
}
