//! A small S3 server on loopback: enough of the wire format for the real client, correct conditions, and faults.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// The one key that is let in, and the one bucket there is.
pub(crate) const KEY_ID: &str = "GOODKEY";
pub(crate) const BUCKET: &str = "bucket";

/// The key after a rotation.
pub(crate) const NEW_KEY_ID: &str = "NEWKEY";

/// Every so many requests for segments one goes wrong; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) busy: u64,
    pub(crate) cut: u64,
    pub(crate) stall: u64,
    /// How a create of a name that is taken is answered.
    pub(crate) quirk: Quirk,
    /// After so many requests for segments the first key is refused and only [`NEW_KEY_ID`] is let in; 0 for never.
    pub(crate) rotate: u64,
}

/// Answers of real servers to a create with `If-None-Match: *` of a name that is taken, written after what was measured of
/// them (docs/decisions/0009): none was captured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Quirk {
    /// S3: 412 and a body of XML.
    #[default]
    Aws,
    /// S3, while another conditional request for the name is under way: 409, and 412 when asked again.
    AwsConflict,
    /// radosgw 16.2: 412, and a body with a host id and no message.
    Radosgw,
    /// `MinIO`: 412, and a longer body.
    Minio,
    /// Proxies that take the condition for that of a GET: 304 without a body.
    NotModified,
    /// garage 2.5: the condition is ignored and the object overwritten.
    Garage,
}

#[derive(Debug)]
pub(crate) struct Server {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    trouble: Trouble,
    segments: AtomicU64,
    pub(crate) troubles: AtomicU64,
    /// Whether a request was refused because of its key.
    refused: (Mutex<bool>, Condvar),
    conflicts: AtomicU64,
}

struct Asked {
    method: String,
    key: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// What the peer gets: nothing at all, or a head and so much of a body.
enum Said {
    Nothing,
    Answer { status: &'static str, headers: String, body: Vec<u8>, length: usize },
}

fn plain(status: &'static str, body: impl Into<Vec<u8>>) -> Said {
    let body = body.into();
    Said::Answer { status, headers: String::new(), length: body.len(), body }
}

fn xml(status: &'static str, code: &str) -> Said {
    plain(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

impl Server {
    /// Serves until the process ends.
    pub(crate) fn start(trouble: Trouble) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self {
            objects: Mutex::default(),
            trouble,
            segments: AtomicU64::new(0),
            troubles: AtomicU64::new(0),
            refused: Default::default(),
            conflicts: AtomicU64::new(0),
        });
        let serving = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let server = Arc::clone(&serving);
                thread::spawn(move || server.connection(&stream.unwrap()));
            }
        });
        (server, address)
    }

    /// Waits until a request was refused because of its key.
    pub(crate) fn until_refused(&self) {
        let (refused, told) = &self.refused;
        let minute = Duration::from_mins(1);
        let (refused, _) = told.wait_timeout_while(refused.lock().unwrap(), minute, |refused| !*refused).unwrap();
        assert!(*refused, "no request was refused");
    }

    fn connection(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        while let Some(asked) = read_request(&mut reader) {
            let head_only = asked.method == "HEAD";
            let Said::Answer { status, headers, body, length } = self.answer(&asked) else { return };
            let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
            let mut bytes = head.into_bytes();
            if !head_only {
                bytes.extend_from_slice(&body);
            }
            if writer.write_all(&bytes).is_err() || (body.len() < length && !head_only) {
                return;
            }
        }
    }

    fn answer(&self, asked: &Asked) -> Said {
        let rotated = self.trouble.rotate > 0 && self.segments.load(Ordering::Relaxed) >= self.trouble.rotate;
        let key_id = if rotated { NEW_KEY_ID } else { KEY_ID };
        let signed = asked.headers.get("authorization").is_some_and(|value| value.contains(key_id));
        if !signed {
            *self.refused.0.lock().unwrap() = true;
            self.refused.1.notify_all();
            return xml("403 Forbidden", "InvalidAccessKeyId");
        }
        let Some(key) = asked.key.strip_prefix(BUCKET) else { return xml("404 Not Found", "NoSuchBucket") };
        let key = key.trim_start_matches('/');
        let mut cut = false;
        if key.contains("/l/") {
            let number = self.segments.fetch_add(1, Ordering::Relaxed) + 1;
            let every = |n: u64| n > 0 && number.is_multiple_of(n);
            cut = every(self.trouble.cut);
            if every(self.trouble.busy) || every(self.trouble.stall) || cut {
                self.troubles.fetch_add(1, Ordering::Relaxed);
            }
            if every(self.trouble.busy) {
                return xml("503 Slow Down", "SlowDown");
            }
            if every(self.trouble.stall) {
                // Longer than the client waits; its own limit ends it.
                thread::sleep(Duration::from_millis(1500));
                return Said::Nothing;
            }
        }
        match (asked.method.as_str(), key) {
            ("PUT", key) => self.put(key, asked),
            ("GET", "") => self.list(&asked.query),
            ("GET" | "HEAD", key) => self.get(key, asked, cut),
            ("POST", "") => self.delete(&asked.body),
            _ => xml("405 Method Not Allowed", "MethodNotAllowed"),
        }
    }

    fn put(&self, key: &str, asked: &Asked) -> Said {
        let mut objects = self.objects.lock().unwrap();
        if asked.headers.contains_key("if-none-match") && objects.contains_key(key) {
            match self.trouble.quirk {
                Quirk::Garage => {}
                quirk => return self.taken(quirk),
            }
        }
        objects.insert(key.to_owned(), asked.body.clone());
        Said::Answer { status: "200 OK", headers: "ETag: \"e\"\r\n".to_owned(), body: Vec::new(), length: 0 }
    }

    /// The answer to a create of a name that is taken.
    fn taken(&self, quirk: Quirk) -> Said {
        let xml_head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        match quirk {
            Quirk::AwsConflict if self.conflicts.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
                xml("409 Conflict", "ConditionalRequestConflict")
            }
            Quirk::Aws | Quirk::Garage | Quirk::AwsConflict => xml("412 Precondition Failed", "PreconditionFailed"),
            Quirk::Radosgw => plain(
                "412 Precondition Failed",
                format!(
                    "{xml_head}<Error><Code>PreconditionFailed</Code><BucketName>bucket</BucketName><RequestId>tx00000a\
                     </RequestId><HostId>1043-default-default</HostId></Error>"
                ),
            ),
            Quirk::Minio => plain(
                "412 Precondition Failed",
                format!(
                    "{xml_head}\n<Error><Code>PreconditionFailed</Code><Message>At least one of the pre-conditions you \
                     specified did not hold</Message><Key>disk</Key><BucketName>bucket</BucketName><Resource>/bucket/disk\
                     </Resource><Condition>If-None-Match</Condition><RequestId>17D2</RequestId><HostId>dd9025</HostId></Error>"
                ),
            ),
            Quirk::NotModified => plain("304 Not Modified", Vec::new()),
        }
    }

    fn get(&self, key: &str, asked: &Asked, cut: bool) -> Said {
        let objects = self.objects.lock().unwrap();
        let Some(object) = objects.get(key) else { return xml("404 Not Found", "NoSuchKey") };
        let mut headers = "ETag: \"e\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n".to_owned();
        let (mut status, mut part) = ("200 OK", &object[..]);
        if let Some(range) = asked.headers.get("range") {
            let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
            let first: usize = first.parse().unwrap();
            let last = last.parse::<usize>().unwrap().min(object.len().saturating_sub(1));
            if first >= object.len() {
                return xml("416 Range Not Satisfiable", "InvalidRange");
            }
            write!(headers, "Content-Range: bytes {first}-{last}/{}\r\n", object.len()).unwrap();
            (status, part) = ("206 Partial Content", &object[first..=last]);
        }
        let length = part.len();
        let part = if cut { &part[..length / 2] } else { part };
        Said::Answer { status, headers, body: part.to_vec(), length }
    }

    fn list(&self, query: &str) -> Said {
        let field = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().replace("%2F", "/")
        };
        let (prefix, after) = (field("prefix"), field("start-after"));
        let mut text = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
        for (key, object) in self.objects.lock().unwrap().iter() {
            if key.starts_with(&prefix) && *key > after {
                write!(text, "<Contents><Key>{key}</Key><Size>{}</Size>", object.len()).unwrap();
                text.push_str("<LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag></Contents>");
            }
        }
        plain("200 OK", text + "</ListBucketResult>")
    }

    fn delete(&self, body: &[u8]) -> Said {
        let text = String::from_utf8_lossy(body);
        let mut deleted = String::new();
        for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
            self.objects.lock().unwrap().remove(key);
            write!(deleted, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
        }
        plain("200 OK", format!("<?xml version=\"1.0\"?><DeleteResult>{deleted}</DeleteResult>"))
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let key = path.trim_start_matches('/').replace("%2F", "/");
    Some(Asked { method, key, query: query.to_owned(), headers, body })
}
