use super::*;

// Made with Python's cryptography 48, from keys that nobody has any more.
const KEYS: &str = "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}, {\"kty\": \"RSA\", \"use\": \"sig\", \"kid\": \"r1\"\
    , \"n\": \"tjlv88L74rQNj0uVOiEMXLBHjx4OiMG8-sd7WNsTpBOiYayXy2DOVyhnIOvNn_JY452OeWeLykn3FLC6-JgqFvFSq\
    sY150vAHqHc2rxf5BAr9RVSBUoV3Ihon05mCC1osfk0HBiqCm1U2JRX3OVcmx_F9h9TK_Kt-JS2UokseZiXtTQzZc5-5TGbP6kLx\
    -b5eSgz9z_xKAZiNdBPeqzPne6WuntRf7bZhlxy4uO4f6x8yG1MUgIp-37ZORpQIq2oSwrzo0Of5oEB_Svj4ipBBEr3c7EQmL-Ok\
    nSZW9aqWbmRFpEFNDyNXwlZ7Mr0DSgBCAFhpS8TzxiPrBj7z28gaw\", \"e\": \"AQAB\"}, {\"kty\": \"EC\", \"crv\"\
    : \"P-256\", \"kid\": \"e1\", \"x\": \"wL_5wOYGwW4TOmlnMmrIj1SrM3jbXcR4pn29ePgRomk\", \"y\": \"xpx9d\
    CNZUcXXiCbVbiTL7vDYRuuUBsCWsTyFmkfAQmA\"}]}";

const BY_RSA: &str = "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInIxIiwgInR5cCI6ICJKV1QifQ.eyJpc3MiOiAiaHR0cHM6Ly9sb2dpbi5leGFtcGxlI\
    iwgImF1ZCI6IFsidGlkZW1pbGwiLCAib3RoZXIiXSwgInN1YiI6ICJhbm4iLCAiZW1haWwiOiAiYW5uQGV4YW1wbGUub3JnIiwgI\
    m5iZiI6IDEwMDAsICJleHAiOiAyMDAwfQ.exI-XhEMz_Jy_-NqiwO63VfqYQThYkxqtXhTojQAPx-VqaX7jjXFUc7UxtEaIU_Y_5\
    pHcNGNQ_Ta8AtXZB39roZb5Km2OfV-u9PdY31wD6VEnq-mpTGWinvzepCVUgJY_vUSY-d7KWNjyxt_Njs83_G_pt5Syr0raCNHbM\
    hFjBPXWE6A3pTCCiW248D8kIGYHXYUbE4kaUSLyE0PA5Li4U_45_D5ZHgvUi1QQw7UiIIjGuZgNT4cmP14Pgr6ePIxUlIkWVLhK-\
    FvpWx6m6mVPrLFcX5dB-VaRSd3233Kkqd46yzHSZcllmZnywvESF5mHr6Q-_bpEBf4D0_33Zz8kg";

const BY_EC: &str = "eyJhbGciOiAiRVMyNTYiLCAia2lkIjogImUxIiwgInR5cCI6ICJKV1QifQ.eyJpc3MiOiAiaHR0cHM6Ly9sb2dpbi5leGFtcGxlI\
    iwgImF1ZCI6IFsidGlkZW1pbGwiLCAib3RoZXIiXSwgInN1YiI6ICJhbm4iLCAiZW1haWwiOiAiYW5uQGV4YW1wbGUub3JnIiwgI\
    m5iZiI6IDEwMDAsICJleHAiOiAyMDAwfQ.4T963Qq6aQL7DLx5krDSM25zrwDtd4GE_UEBRZSWOkTCNuP0OAvGyF54K3IneeehCh\
    dgFcTg6mGf_fJfy_FvCA";

const WITHOUT_END: &str = "eyJhbGciOiAiRVMyNTYiLCAia2lkIjogImUxIiwgInR5cCI6ICJKV1QifQ.eyJpc3MiOiAiaHR0cHM6Ly9sb2dpbi5leGFtcGxlI\
    iwgImF1ZCI6IFsidGlkZW1pbGwiLCAib3RoZXIiXSwgInN1YiI6ICJhbm4iLCAiZW1haWwiOiAiYW5uQGV4YW1wbGUub3JnIiwgI\
    m5iZiI6IDEwMDB9.HZcsU9x20T2JffiQvFA9znq0NkCzadXAMuSHeXGYR5JxWwEAb8QzSp4ay8zas8kytu3rjqY1MFMLpsY3Vq0x\
    ng";

const NOW: Duration = Duration::from_secs(1500);

fn rules() -> JwtRules {
    let (issuer, audience) = (String::from("https://login.example"), String::from("tidemill"));
    JwtRules { issuer, audience, user_claim: String::from("sub") }
}

fn user(token: &str, now: Duration) -> Result<String, String> {
    JwtValidator::new(KEYS, rules()).unwrap().user(token, now)
}

#[track_caller]
fn refused(token: &str, why: &str) {
    let reason = user(token, NOW).unwrap_err();
    assert!(reason.contains(why), "{reason}");
}

#[test]
fn signed_tokens_name_their_user() {
    assert_eq!(user(BY_RSA, NOW).unwrap(), "ann");
    assert_eq!(user(BY_EC, NOW).unwrap(), "ann");
    let rules = JwtRules { user_claim: String::from("email"), ..rules() };
    assert_eq!(JwtValidator::new(KEYS, rules).unwrap().user(BY_EC, NOW).unwrap(), "ann@example.org");
}

#[test]
fn tokens_hold_for_their_time_issuer_and_audience() {
    assert_eq!(user(BY_EC, Duration::from_secs(2059)).unwrap(), "ann");
    assert_eq!(user(BY_EC, Duration::from_secs(2061)).unwrap_err(), "it has expired");
    assert_eq!(user(BY_EC, Duration::from_secs(941)).unwrap(), "ann");
    assert!(user(BY_EC, Duration::from_secs(939)).unwrap_err().contains("nbf"));
    refused(WITHOUT_END, "when it ends");
    for (rules, why) in [
        (JwtRules { issuer: String::from("https://elsewhere"), ..rules() }, "not of the issuer"),
        (JwtRules { audience: String::from("elsewhere"), ..rules() }, "not meant for elsewhere"),
        (JwtRules { user_claim: String::from("name"), ..rules() }, "names no user (name)"),
    ] {
        let reason = JwtValidator::new(KEYS, rules).unwrap().user(BY_EC, NOW).unwrap_err();
        assert!(reason.contains(why), "{reason}");
    }
}

/// A token with another header in front of what was signed.
fn with_header(header: &str, token: &str) -> String {
    format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), token.split_once('.').unwrap().1)
}

#[test]
fn what_is_not_signed_by_a_key_is_refused() {
    let (rest, signature) = BY_EC.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    refused(&format!("{rest}.{flipped}{}", &signature[1..]), "its signature is wrong");
    refused(&format!("{rest}."), "its signature is wrong");
    refused(&with_header(r#"{"alg":"none"}"#, BY_EC), "none of the keys");
    refused(&with_header(r#"{"alg":"HS256"}"#, BY_EC), "none of the keys");
    refused(&with_header(r#"{"alg":"ES256","kid":"r1"}"#, BY_EC), "none of the keys");
    refused(&with_header(r#"{"alg":"ES256"}"#, BY_EC), "its signature is wrong");
    refused(&with_header(r#"{"alg":"ES256","crit":["b64"]}"#, BY_EC), "extensions");
    refused("a.b.c", "no base64");
    refused("a.b", "no JSON web token");
    refused(&"x".repeat(20_000), "16384 bytes");
}

#[test]
fn keys_are_needed() {
    for (keys, why) in [("{}", "cannot be read"), (r#"{"keys": [{"kty": "oct"}]}"#, "has no key")] {
        let error = JwtValidator::new(keys, rules()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn new_keys_take_the_place_of_old_ones() {
    let validator = JwtValidator::new(KEYS, rules()).unwrap();
    assert!(validator.renew("{\"keys\": []}").unwrap_err().to_string().contains("has no key"));
    assert_eq!(validator.user(BY_EC, NOW).unwrap(), "ann");
    let mut keys: Value = serde_json::from_str(KEYS).unwrap();
    keys["keys"].as_array_mut().unwrap().retain(|key| key["kty"] == "RSA");
    validator.renew(&keys.to_string()).unwrap();
    assert_eq!(validator.user(BY_RSA, NOW).unwrap(), "ann");
    assert!(validator.user(BY_EC, NOW).unwrap_err().contains("none of the keys"));
    validator.renew(KEYS).unwrap();
    assert_eq!(validator.user(BY_EC, NOW).unwrap(), "ann");
}
