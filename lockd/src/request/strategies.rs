//! Arbitrary requests and replies, for round trips.

use proptest::prelude::*;

use bytes::Bytes;

use super::*;

pub(crate) fn session() -> impl Strategy<Value = SessionId> {
    (any::<u64>(), any::<u64>()).prop_map(|(incarnation, number)| SessionId {
        incarnation,
        number,
    })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    (any::<u64>(), any::<u64>()).prop_map(|(number, acknowledged)| Sequence {
        number,
        acknowledged,
    })
}

fn token() -> impl Strategy<Value = Token> {
    (1..=u64::MAX, 1..=u64::MAX)
        .prop_map(|(incarnation, grant)| Token::new(incarnation, grant).unwrap())
}

fn grant() -> impl Strategy<Value = Grant> {
    (token(), token()).prop_map(|(token, floor)| Grant { token, floor })
}

fn path() -> impl Strategy<Value = LockPath> {
    "[a-zé]{1,8}(/[a-z0-9]{1,8}){0,4}".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u128>(), any::<u64>(), "\\PC{0,20}").prop_map(|(nonce, ttl_ms, owner)| {
            Request::Open {
                nonce,
                ttl_ms,
                owner: owner.into(),
            }
        }),
        session().prop_map(|session| Request::Renew { session }),
        session().prop_map(|session| Request::Close { session }),
        (session(), sequence(), path(), any::<bool>(), any::<bool>()).prop_map(
            |(session, sequence, path, refuse, join)| Request::Acquire {
                session,
                sequence,
                path,
                contention: if refuse {
                    Contention::Refuse
                } else {
                    Contention::Wait
                },
                reentry: if join {
                    Reentry::Join
                } else {
                    Reentry::Exclude
                },
            }
        ),
        (session(), sequence(), any::<u64>()).prop_map(|(session, sequence, claim)| {
            Request::Cancel {
                session,
                sequence,
                claim,
            }
        }),
        (session(), sequence(), any::<u64>(), token()).prop_map(
            |(session, sequence, claim, token)| Request::Release {
                session,
                sequence,
                claim,
                token,
            }
        ),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        session().prop_map(|session| Reply::Opened { session }),
        Just(Reply::Renewed),
        Just(Reply::Closed),
        grant().prop_map(Reply::Granted),
        any::<u32>().prop_map(|ahead| Reply::Queued { ahead }),
        Just(Reply::Cancelled),
        Just(Reply::Released),
        prop::sample::select(vec![
            Refusal::SessionLost,
            Refusal::StaleSequence,
            Refusal::Held,
            Refusal::NotHeld,
            Refusal::Malformed,
            Refusal::TtlOutOfRange,
            Refusal::TooManySessions,
            Refusal::TooManyLocks,
            Refusal::TooManyClaims,
            Refusal::TooManyWaiters,
            Refusal::TooManyReplies,
        ])
        .prop_map(Reply::Refused),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        path().prop_map(|path| Query::Inspect { path }),
        Just(Query::Status),
        (session(), any::<u64>()).prop_map(|(session, after)| Query::Session { session, after }),
        prop::option::of(path()).prop_map(|after| Query::List { after }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let inspection = (
        "\\PC{0,20}",
        session(),
        token(),
        any::<(u64, u64)>(),
        any::<(u32, u32)>(),
    )
        .prop_map(|(owner, session, token, times, counts)| Inspection {
            owner: owner.into(),
            session,
            token,
            held_ms: times.0,
            remaining_ms: times.1,
            holds: counts.0,
            waiters: counts.1,
        });
    let status = (any::<[u64; 4]>(), prop::option::of(0..u64::MAX)).prop_map(
        |([log_time_ms, incarnation, sessions, locks], next_expiry_ms)| Status {
            log_time_ms,
            next_expiry_ms,
            incarnation,
            sessions,
            locks,
        },
    );
    prop_oneof![
        prop::option::of(inspection).prop_map(Answer::Inspection),
        status.prop_map(Answer::Status),
        prop::collection::vec((any::<u64>(), grant()), 0..5).prop_map(Answer::Session),
        Just(Answer::SessionLost),
        prop::collection::vec((path(), token()), 0..5).prop_map(Answer::Locks),
        Just(Answer::Malformed),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    (1..=u64::MAX, session(), any::<u64>(), path(), grant()).prop_map(
        |(peer, session, claim, path, grant)| Notice {
            peer: PeerId::new(peer).unwrap(),
            session,
            claim,
            path,
            grant,
        },
    )
}

fn bytes_of(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

proptest! {
    #[test]
    fn everything_comes_back_from_its_bytes(
        request in request(), reply in reply(), query in query(), answer in answer(), notice in notice()
    ) {
        let bytes = bytes_of(|out| request.encode(out));
        prop_assert!(bytes.len() <= crate::limits::REQUEST_BYTES_MAX);
        prop_assert_eq!(Request::decode(&bytes), Ok(request));
        prop_assert_eq!(Reply::decode(&bytes_of(|out| reply.encode(out))), Ok(reply));
        prop_assert_eq!(Query::decode(&bytes_of(|out| query.encode(out))), Ok(query));
        prop_assert_eq!(Answer::decode(&bytes_of(|out| answer.encode(out))), Ok(answer));
        prop_assert_eq!(Notice::decode(&notice.encode()), Ok(notice));
    }

    #[test]
    fn entries_come_back_from_their_bytes(
        log_time_ms: u64, from: u64, requests in prop::collection::vec((1..=u64::MAX, request()), 0..5)
    ) {
        let encoded: Vec<_> = requests
            .iter()
            .map(|(peer, request)| (PeerId::new(*peer).unwrap(), bytes_of(|out| request.encode(out))))
            .collect();
        let operations = encoded.iter().map(|(peer, request)| Operation { peer: *peer, request }).collect();
        for entry in [Entry::Requests { log_time_ms, operations }, Entry::Restored { log_time_ms, from }] {
            let bytes = entry.encode();
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        }
    }

    #[test]
    fn what_decodes_from_any_bytes_has_no_other_spelling(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(&bytes_of(|out| request.encode(out)), &bytes);
        }
        if let Ok(reply) = Reply::decode(&bytes) {
            prop_assert_eq!(&bytes_of(|out| reply.encode(out)), &bytes);
        }
        if let Ok(answer) = Answer::decode(&bytes) {
            prop_assert_eq!(&bytes_of(|out| answer.encode(out)), &bytes);
        }
        if let Ok(query) = Query::decode(&bytes) {
            prop_assert_eq!(&bytes_of(|out| query.encode(out)), &bytes);
        }
        if let Ok(notice) = Notice::decode(&bytes) {
            prop_assert_eq!(&notice.encode(), &bytes);
        }
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(&entry.encode(), &bytes);
        }
        let _ = EntryReply::decode(&Bytes::from(bytes));
    }
}
