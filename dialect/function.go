package dialect

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/yamlnode"
)

// A function is what a value may call. There are three kinds: a codec has an
// inverse; a digest has none, so whoever checks it makes it again; a generator
// makes something new.
type function struct {
	name        string
	kind        functionKind
	least, most int    // arguments
	alphabet    string // the characters that its text may have; empty: any
	number      bool   // a codec whose text is a JSON number
	instant     bool   // a codec whose variable is an instant
	seconds     bool   // a codec whose variable is a number of seconds

	encode, decode func(string) (string, error) // of a codec
	encodeBytes    func([]byte) string          // of a codec that can write a digest
	digest         func(args []string) ([]byte, error)
	text           bool // a digest that is text already
	generate       func(e *env, args []value) (string, error)
}

type functionKind int

const (
	isCodec functionKind = iota
	isDigest
	isGenerator
)

// show writes a digest where no codec does.
func (f *function) show(b []byte) string {
	if f.text {
		return string(b)
	}
	return hex.EncodeToString(b)
}

func suggestFunction(name string) string {
	return yamlnode.Suggest(name, slices.Sorted(maps.Keys(functions)))
}

// functions are all that there are: the language has no others, and no way to
// make one.
var functions = named(
	codec("base64", coding(base64.StdEncoding, letters+"+/=")),
	codec("base64url", coding(base64.RawURLEncoding, letters+"-_")),
	codec("hex", inHex(hex.EncodeToString)),
	codec("base16", inHex(base16)),
	codec("json", function{encode: quoteJSON, decode: unquoteJSON}),
	codec("comma", function{
		encode: func(s string) (string, error) { return words(s, " ", ",") },
		decode: func(s string) (string, error) { return words(s, ",", " ") },
	}),
	codec("iso", instants(func(t time.Time) string { return t.Format(time.RFC3339Nano) }, parseInstant)),
	codec("date", instants(func(t time.Time) string { return t.Format(time.DateOnly) }, parseDate)),
	codec("unix", epoch(time.Second)),
	codec("unix_ms", epoch(time.Millisecond)),
	codec("ms", unit(big.NewRat(1000, 1))),
	codec("min", unit(big.NewRat(1, 60))),
	codec("hours", unit(big.NewRat(1, 3600))),
	codec("dhm", function{seconds: true, encode: toDHM, decode: fromDHM}),

	digester("md5", md5.New), digester("sha1", sha1.New), digester("sha256", sha256.New), digester("sha512", sha512.New),
	mac("hmac_sha1", sha1.New), mac("hmac_sha256", sha256.New), mac("hmac_sha512", sha512.New),
	&function{name: "fingerprint", kind: isDigest, alphabet: letters + "+/=:", least: 1, most: 1, text: true, digest: one(sign.Fingerprint)},
	&function{name: "thumbprint", kind: isDigest, alphabet: letters + "-_", least: 1, most: 1, text: true, digest: one(sign.Thumbprint)},

	// Not codecs: what they make is bytes, of which no text could be read back.
	&function{name: "unhex", kind: isDigest, least: 1, most: 1, text: true, digest: bytesOf("hex", hex.DecodeString)},
	&function{name: "unbase64", kind: isDigest, least: 1, most: 1, text: true, digest: bytesOf("base64", decodeBase64)},

	&function{name: "uuid", kind: isGenerator, generate: func(*env, []value) (string, error) { return uuid.NewString(), nil }},
	&function{name: "nonce", kind: isGenerator, generate: func(*env, []value) (string, error) { return nonce(), nil }},
	&function{name: "now", kind: isGenerator, most: 1, generate: now},
)

func named(list ...*function) map[string]*function {
	table := map[string]*function{}
	for _, f := range list {
		table[f.name] = f
	}
	return table
}

func codec(name string, f function) *function {
	f.name, f.kind, f.least, f.most = name, isCodec, 1, 1
	return &f
}

// letters are those that every form of base64 has.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

const hexDigits = "0123456789abcdefABCDEF"

func coding(c *base64.Encoding, alphabet string) function {
	return function{
		alphabet:    alphabet,
		encode:      func(s string) (string, error) { return c.EncodeToString([]byte(s)), nil },
		decode:      func(s string) (string, error) { return text(c.Strict().DecodeString(s)) },
		encodeBytes: c.EncodeToString,
	}
}

func inHex(encode func([]byte) string) function {
	return function{
		alphabet:    hexDigits,
		encode:      func(s string) (string, error) { return encode([]byte(s)), nil },
		decode:      func(s string) (string, error) { return text(hex.DecodeString(s)) },
		encodeBytes: encode,
	}
}

// base16 is hex as RFC 4648 section 8 writes it.
func base16(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// text refuses what is no text, or none at all: an empty hole counts as absent.
func text(b []byte, err error) (string, error) {
	if err == nil && (!utf8.Valid(b) || len(b) == 0) {
		err = errors.New("not UTF-8")
	}
	return string(b), err
}

func quoteJSON(s string) (string, error) {
	b, err := appendJSONString(nil, s)
	return string(b), err
}

func unquoteJSON(s string) (out string, err error) {
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	if err = d.Decode(&out); err == nil && d.InputOffset() != int64(len(s)) {
		err = errors.New("more than one JSON string")
	}
	return out, err
}

// words replaces one separator by another, and refuses a word that holds either.
func words(s, from, to string) (string, error) {
	if strings.Contains(s, to) || strings.HasPrefix(s, from) || strings.HasSuffix(s, from) || strings.Contains(s, from+from) {
		return "", errors.New("it is to be words with one blank between them, and without commas")
	}
	return strings.ReplaceAll(s, from, to), nil
}

// instants is a codec of an instant, which a variable has in RFC 3339.
func instants(format func(time.Time) string, parse func(string) (time.Time, error)) function {
	return function{
		instant: true,
		encode: func(s string) (string, error) {
			t, err := parseInstant(s)
			if err != nil {
				return "", err
			}
			return format(t.UTC()), nil
		},
		decode: func(s string) (string, error) {
			t, err := parse(s)
			if err != nil {
				return "", err
			}
			return t.UTC().Format(time.RFC3339Nano), nil
		},
	}
}

func epoch(unit time.Duration) function {
	f := instants(
		func(t time.Time) string {
			return strconv.FormatInt(t.Unix()*int64(time.Second/unit)+int64(t.Nanosecond())/int64(unit), 10)
		},
		func(s string) (time.Time, error) {
			n, err := strconv.ParseInt(s, 10, 64)
			per := int64(time.Second / unit)
			if err != nil || n < 0 || n/per > maxInstant {
				return time.Time{}, errors.New("not a number of epoch time")
			}
			return time.Unix(n/per, n%per*int64(unit)), nil
		})
	f.number = true
	return f
}

// maxInstant is the end of the year 9999 in Unix time.
const maxInstant = 253402300799

func parseDate(s string) (time.Time, error) { return time.Parse(time.DateOnly, s) }

// instantForms are the ways in which vendors write an instant. Those without a
// zone are UTC.
var instantForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999-0700", time.RFC1123, time.RFC1123Z, time.DateOnly}

// parseInstant reads RFC 3339 and what vendors write in its place, also epoch
// time in seconds or milliseconds.
func parseInstant(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
		if n > maxInstant/100 { // in seconds it would be after the year 2050
			return time.UnixMilli(n), nil
		}
		return time.Unix(n, 0), nil
	}
	for _, form := range instantForms {
		if t, err := time.Parse(form, s); err == nil && t.Year() > 0 && t.Year() <= 9999 {
			return t, nil
		}
	}
	return time.Time{}, errors.New("not an instant, such as 2030-01-31T23:59:59Z")
}

// unit is a codec of a number of seconds that travels in another unit.
func unit(factor *big.Rat) function {
	times := func(s string, by *big.Rat) (string, error) {
		n, ok := new(big.Rat).SetString(s)
		if !ok || n.Sign() < 0 || len(s) > 20 || strings.ContainsAny(s, "/eEpPxX_") {
			return "", errors.New("not a number of seconds")
		}
		n.Mul(n, by)
		if n.IsInt() {
			return n.Num().String(), nil
		}
		return strings.TrimRight(n.FloatString(9), "0"), nil
	}
	return function{
		number: true, seconds: true,
		encode: func(s string) (string, error) { return times(s, factor) },
		decode: func(s string) (string, error) { return times(s, new(big.Rat).Inv(factor)) },
	}
}

// toDHM writes seconds as days:hours:minutes.
func toDHM(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 40)
	if err != nil || n%60 != 0 {
		return "", errors.New("not a number of seconds that is whole minutes")
	}
	return fmt.Sprintf("%d:%02d:%02d", n/86400, n/3600%24, n/60%60), nil
}

func fromDHM(s string) (string, error) {
	seconds := uint64(0)
	parts := strings.Split(s, ":")
	for i, per := range []uint64{86400, 3600, 60} {
		if len(parts) != 3 {
			return "", errors.New("not days:hours:minutes")
		}
		n, err := strconv.ParseUint(parts[i], 10, 24)
		if err != nil {
			return "", errors.New("not days:hours:minutes")
		}
		seconds += n * per
	}
	return strconv.FormatUint(seconds, 10), nil
}

func digester(name string, h func() hash.Hash) *function {
	return &function{name: name, kind: isDigest, alphabet: hexDigits, least: 1, most: 1, digest: func(args []string) ([]byte, error) {
		sum := h()
		_, _ = sum.Write([]byte(args[0])) // never fails
		return sum.Sum(nil), nil
	}}
}

func mac(name string, h func() hash.Hash) *function {
	return &function{name: name, kind: isDigest, alphabet: hexDigits, least: 2, most: 2, digest: func(args []string) ([]byte, error) {
		if args[0] == "" {
			return nil, errors.New("the key is empty")
		}
		sum := hmac.New(h, []byte(args[0]))
		_, _ = sum.Write([]byte(args[1])) // never fails
		return sum.Sum(nil), nil
	}}
}

func one(f func(string) (string, error)) func([]string) ([]byte, error) {
	return func(args []string) ([]byte, error) {
		s, err := f(args[0])
		return []byte(s), err
	}
}

// bytesOf is a digest that makes the bytes which a text writes: keys are given as
// text and count as bytes.
func bytesOf(form string, decode func(string) ([]byte, error)) func([]string) ([]byte, error) {
	return func(args []string) ([]byte, error) {
		b, err := decode(args[0])
		if err != nil || len(b) == 0 {
			return nil, errors.New("it is no " + form)
		}
		return b, nil
	}
}

// decodeBase64 reads both alphabets, with or without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	return base64.RawStdEncoding.DecodeString(s)
}

// nonce returns 128 random bits in hex, which any field can carry.
func nonce() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// parseShift reads a length of time that may be in the past: 7d, -60s.
func parseShift(text string) (time.Duration, error) {
	back, negative := strings.CutPrefix(text, "-")
	d, err := parseLength(back)
	if negative {
		d = -d
	}
	return d, err
}

// now is this moment, or so much later or earlier, in whole seconds: vendors' parsers trip
// over fractions.
func now(e *env, args []value) (string, error) {
	t := e.now
	if len(args) > 0 {
		text, _ := args[0].literal()
		d, err := parseShift(text)
		if err != nil {
			return "", err
		}
		t = t.Add(d)
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339), nil
}

// An env is where values are filled: an account's variables, and what the
// dialect makes of them.
type env struct {
	vars jeton.Vars // the env's own
	lets []*let     // that a missing variable may be made by; nil on a server
	now  time.Time
	busy []string // lets that are being made

	absent  func(hole string) bool // whether a claim of a let may be left out; nil: none may
	account jeton.Vars             // on a server: the account's own, without what a message brings
}

func (e *env) optional(hole string) bool { return e.absent != nil && e.absent(hole) }

// get returns a variable, made by a let if nobody gave it. What was made is the
// same for the rest of the message.
func (e *env) get(name string) (string, error) {
	if text := e.vars[name]; text != "" {
		return text, nil
	}
	for _, l := range e.lets {
		if l.name != name || slices.Contains(e.busy, name) {
			continue
		}
		e.busy = append(e.busy, name)
		text, err := l.make(e)
		e.busy = e.busy[:len(e.busy)-1]
		if err == nil {
			e.vars[name] = text
		}
		return text, err
	}
	return "", missingError{name}
}
