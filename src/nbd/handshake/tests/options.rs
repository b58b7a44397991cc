//! Each option and its errors.

use super::*;

#[test]
fn abort_is_acknowledged_and_its_data_ignored() {
    let huge = vec![0; MAX_OPTION_BYTES as usize + 1];
    for data in [&[][..], b"bye", &huge] {
        let talk = talk(Script::new(FIXED).option(NBD_OPT_ABORT, data));
        assert_eq!(talk.types(), [(NBD_OPT_ABORT, NBD_REP_ACK)]);
        assert!(matches!(talk.outcome, Outcome::Ended(Ended::Aborted)), "{:?}", talk.outcome);
    }
}

#[test]
fn unknown_options_are_unsupported_and_skipped() {
    let huge = vec![0; MAX_OPTION_BYTES as usize + 1];
    for data in [&[][..], b"data", &huge] {
        for option in [0, NBD_OPT_PEEK_EXPORT, 12, u32::MAX] {
            let talk = talk(Script::new(FIXED).option(option, data).option(NBD_OPT_ABORT, &[]));
            assert_eq!(talk.types(), [(option, NBD_REP_ERR_UNSUP), (NBD_OPT_ABORT, NBD_REP_ACK)]);
        }
    }
}

#[test]
fn options_without_data_refuse_data() {
    let huge = vec![0; MAX_OPTION_BYTES as usize + 1];
    for option in [NBD_OPT_LIST, NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_EXTENDED_HEADERS] {
        for data in [&b"x"[..], &huge] {
            let talk = talk(Script::new(FIXED).option(option, data));
            assert_eq!(talk.types(), [(option, NBD_REP_ERR_INVALID)]);
            talk.last_text();
        }
    }
}

#[test]
fn list_tells_names_and_descriptions() {
    let talk = talk(Script::new(FIXED).option(NBD_OPT_LIST, &[]));
    let server = |data: &[u8]| Reply { option: NBD_OPT_LIST, kind: NBD_REP_SERVER, data: data.to_vec() };
    let ack = Reply { option: NBD_OPT_LIST, kind: NBD_REP_ACK, data: Vec::new() };
    let expected = [server(&[0; 4]), server(b"\0\0\0\x04bare"), server(b"\0\0\0\x04diska disk"), ack];
    assert_eq!(talk.replies(), expected);
}

#[test]
fn info_gives_size_and_block_sizes_and_what_is_asked_for() {
    let infos = [NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE, 77];
    let talk = talk(Script::new(FIXED).ask(NBD_OPT_INFO, "disk", &infos).ask(NBD_OPT_INFO, "disk", &[]));
    let flags = NBD_FLAG_HAS_FLAGS
        | NBD_FLAG_READ_ONLY
        | NBD_FLAG_SEND_FLUSH
        | NBD_FLAG_SEND_FUA
        | NBD_FLAG_CAN_MULTI_CONN
        | NBD_FLAG_SEND_CACHE;
    let size = [&[0, 0, 0, 0, 0, 0, 0, 0xa0, 0, 0][..], &flags.to_be_bytes()].concat();
    let block = vec![0, 3, 0, 0, 2, 0, 0, 0, 0x10, 0, 0, 0x10, 0, 0];
    let name = b"\0\x01disk".to_vec();
    let description = b"\0\x02a disk".to_vec();
    let data: Vec<_> = talk.replies().into_iter().map(|reply| (reply.kind, reply.data)).collect();
    let info = |data: &Vec<u8>| (NBD_REP_INFO, data.clone());
    let ack = (NBD_REP_ACK, Vec::new());
    let expected =
        [info(&size), info(&block), info(&name), info(&description), ack.clone(), info(&size), info(&block), ack];
    assert_eq!(data, expected);
}

#[test]
fn unknown_exports_are_told_without_information() {
    for option in [NBD_OPT_INFO, NBD_OPT_GO] {
        let talk = talk(Script::new(FIXED).ask(option, "nothing", &[]));
        assert_eq!(talk.types(), [(option, NBD_REP_ERR_UNKNOWN)]);
        assert_eq!(talk.last_text(), "there is no export \"nothing\"");
    }
}

#[test]
fn malformed_information_requests_are_invalid() {
    let beyond = [&9u32.to_be_bytes()[..], b"disk\0\0"].concat();
    let odd = [&client::string("disk")[..], &[0, 1, 0]].concat();
    let latin = [&[0, 0, 0, 1][..], &[0xff, 0, 0]].concat();
    for data in [&[][..], &beyond, &odd, &latin] {
        let talk = talk(Script::new(FIXED).option(NBD_OPT_GO, data));
        assert_eq!(talk.types(), [(NBD_OPT_GO, NBD_REP_ERR_INVALID)]);
        talk.last_text();
    }
}

#[test]
fn oversized_options_are_skipped_and_too_big() {
    let huge = vec![0; MAX_OPTION_BYTES as usize + 1];
    for option in [NBD_OPT_INFO, NBD_OPT_GO] {
        let talk = talk(Script::new(FIXED).option(option, &huge).option(NBD_OPT_ABORT, &[]));
        assert_eq!(talk.types(), [(option, NBD_REP_ERR_TOO_BIG), (NBD_OPT_ABORT, NBD_REP_ACK)]);
    }
}

#[test]
fn structured_replies_may_be_asked_for_again() {
    let twice = Script::new(FIXED).option(NBD_OPT_STRUCTURED_REPLY, &[]).option(NBD_OPT_STRUCTURED_REPLY, &[]);
    let talk = talk(twice.ask(NBD_OPT_GO, "", &[]));
    assert_eq!(talk.types()[..2], [(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK); 2]);
    assert_eq!(entered(talk).style, ReplyStyle::Structured);
}

#[test]
fn extended_headers_need_no_structured_replies_and_cannot_be_taken_back() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_EXTENDED_HEADERS, &[])
        .option(NBD_OPT_STRUCTURED_REPLY, &[])
        .option(NBD_OPT_EXTENDED_HEADERS, &[])
        .ask(NBD_OPT_GO, "", &[]);
    let talk = talk(script);
    let expected = [
        (NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK),
        (NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_EXT_HEADER_REQD),
        (NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK),
    ];
    assert_eq!(talk.types()[..3], expected);
    assert_eq!(entered(talk).style, ReplyStyle::Extended);
}

#[test]
fn a_server_that_stops_refuses_every_option_but_abort() {
    let script = Script::new(FIXED)
        .option(NBD_OPT_LIST, &[])
        .ask(NBD_OPT_GO, "", &[])
        .option(99, &[])
        .option(NBD_OPT_ABORT, &[]);
    let expected = [
        (NBD_OPT_LIST, NBD_REP_ERR_SHUTDOWN),
        (NBD_OPT_GO, NBD_REP_ERR_SHUTDOWN),
        (99, NBD_REP_ERR_SHUTDOWN),
        (NBD_OPT_ABORT, NBD_REP_ACK),
    ];
    assert_eq!(talk_under(script, TlsPolicy::Off, true).types(), expected);
    let talk = talk_under(Script::new(FIXED).option(NBD_OPT_EXPORT_NAME, &[]), TlsPolicy::Off, true);
    assert!(matches!(talk.outcome, Outcome::Ended(Ended::Refused(_))), "{:?}", talk.outcome);
}
