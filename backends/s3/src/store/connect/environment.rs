//! What the environment says of credentials and endpoints, beyond what the clients read of it themselves; and which
//! variable is missing, before a client finds out in words of its own.

use nbdgate_api::{Error, Kind};

/// Where variables are looked up.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Keys of an account of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

/// The environment of this process; an empty variable is none.
pub(super) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The keys in the file that `AWS_SHARED_CREDENTIALS_FILE` names, unless the variables hold keys themselves.
pub(super) fn aws(lookup: Lookup<'_>) -> Result<Option<Keys>, Error> {
    match (lookup("AWS_ACCESS_KEY_ID"), lookup("AWS_SECRET_ACCESS_KEY")) {
        (Some(_), Some(_)) => return Ok(None),
        (Some(_), None) => return Err(missing("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => return Err(missing("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        (None, None) => {}
    }
    let Some(path) = lookup("AWS_SHARED_CREDENTIALS_FILE") else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::from_io(error, format!("reading {path}, which AWS_SHARED_CREDENTIALS_FILE names")))?;
    let profile = lookup("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    match profile_keys(&text, &profile) {
        Some(keys) => Ok(Some(keys)),
        None => Err(invalid(format!(
            "the file {path} has no aws_access_key_id and aws_secret_access_key for the profile `{profile}` (AWS_PROFILE)"
        ))),
    }
}

/// The keys of one profile of a shared credentials file.
fn profile_keys(text: &str, profile: &str) -> Option<Keys> {
    let (mut here, mut id, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            here = name.trim() == profile;
        } else if here && let Some((name, value)) = line.split_once('=') {
            let value = Some(value.trim().to_owned());
            match name.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Keys { id: id?, secret: secret?, token })
}

/// Refuses an environment that names a file which is not there.
pub(super) fn google(lookup: Lookup<'_>) -> Result<(), Error> {
    for name in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"] {
        if let Some(path) = lookup(name)
            && let Err(error) = std::fs::metadata(&path)
        {
            return Err(Error::from_io(error, format!("reading the credentials {path}, which {name} names")));
        }
    }
    Ok(())
}

/// The address of an emulator of Google Cloud Storage, as its own tools name it.
pub(super) fn gcs_emulator(lookup: Lookup<'_>) -> Option<String> {
    let host = lookup("STORAGE_EMULATOR_HOST")?;
    let host = host.trim_end_matches('/');
    Some(if host.contains("://") { host.to_owned() } else { format!("http://{host}") })
}

/// Refuses an environment without an account.
pub(super) fn azure(lookup: Lookup<'_>) -> Result<(), Error> {
    let any = |names: &[&str]| names.iter().any(|name| lookup(name).is_some());
    if any(&["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR", "AZURE_ACCOUNT_NAME"]) {
        return Ok(());
    }
    let text = if any(&["AZURE_STORAGE_CONNECTION_STRING"]) {
        "AZURE_STORAGE_CONNECTION_STRING is not read: set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
    } else {
        "AZURE_STORAGE_ACCOUNT_NAME is not set: an az:// location needs it, and AZURE_STORAGE_ACCOUNT_KEY or another \
         credential"
    };
    Err(invalid(text.to_owned()))
}

fn missing(given: &str, other: &str) -> Error {
    invalid(format!("{given} is set and {other} is not: S3 needs both"))
}

fn invalid(text: String) -> Error {
    Error::new(Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks up in a list.
    fn with<'a>(list: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| list.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn half_of_a_pair_of_keys_names_the_other_half() {
        let error = aws(&with(&[("AWS_ACCESS_KEY_ID", "x")])).expect_err("half a pair");
        assert!(error.chain().contains("AWS_SECRET_ACCESS_KEY is not"), "{}", error.chain());
        let error = aws(&with(&[("AWS_SECRET_ACCESS_KEY", "SECRET")])).expect_err("half a pair");
        assert!(error.chain().contains("AWS_ACCESS_KEY_ID is not") && !error.chain().contains("SECRET is"));
        assert_eq!(aws(&with(&[])).expect("an instance may have a role"), None);
    }

    #[test]
    fn a_credentials_file_is_read_by_profile() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=B\n\n[ci]\naws_access_key_id=C\n\
                    aws_secret_access_key = D=\naws_session_token = E\n[half]\naws_access_key_id = F\n";
        std::fs::write(file.path(), text).expect("written");
        let path = file.path().to_str().expect("utf-8");
        let keys = |profile: &str| aws(&with(&[("AWS_SHARED_CREDENTIALS_FILE", path), ("AWS_PROFILE", profile)]));
        let plain = aws(&with(&[("AWS_SHARED_CREDENTIALS_FILE", path)])).expect("keys");
        assert_eq!(plain, Some(Keys { id: "A".to_owned(), secret: "B".to_owned(), token: None }));
        let ci = keys("ci").expect("keys");
        assert_eq!(ci, Some(Keys { id: "C".to_owned(), secret: "D=".to_owned(), token: Some("E".to_owned()) }));
        assert!(keys("half").expect_err("no secret").chain().contains("`half` (AWS_PROFILE)"));
        let both = with(&[
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "y"),
        ]);
        assert_eq!(aws(&both).expect("variables come first"), None);
        let nowhere = aws(&with(&[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")])).expect_err("no file");
        assert!(nowhere.chain().contains("/nowhere, which AWS_SHARED_CREDENTIALS_FILE names"));
    }

    #[test]
    fn other_stores_name_what_they_miss_too() {
        let error = google(&with(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")])).expect_err("no file");
        assert!(error.chain().contains("GOOGLE_APPLICATION_CREDENTIALS names"), "{}", error.chain());
        google(&with(&[])).expect("an instance may have an account");
        assert!(azure(&with(&[])).expect_err("no account").chain().contains("AZURE_STORAGE_ACCOUNT_NAME is not set"));
        let error = azure(&with(&[("AZURE_STORAGE_CONNECTION_STRING", "x")])).expect_err("not read");
        assert!(error.chain().contains("is not read"), "{}", error.chain());
        azure(&with(&[("AZURE_STORAGE_USE_EMULATOR", "true")])).expect("azurite has an account of its own");
    }

    #[test]
    fn the_emulator_of_google_is_found_with_and_without_a_scheme() {
        let emulator = |host: &str| gcs_emulator(&with(&[("STORAGE_EMULATOR_HOST", host)]));
        assert_eq!(emulator("localhost:4443").as_deref(), Some("http://localhost:4443"));
        assert_eq!(emulator("https://emulator/").as_deref(), Some("https://emulator"));
    }
}
