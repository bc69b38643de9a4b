package corpus

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A template is a text of the facts with its holes, parsed.
type template []term

// A term is text, a variable or a function of a template.
type term struct {
	text string
	name string   // of a variable or a function
	args template // of a function
	call bool

	days int  // of now: how many days later
	date bool // of now: only the date
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]*`)
	later      = regexp.MustCompile(`^now\+(\d+):days:YYYY-MM-DD$`)
)

func parseTemplate(s string) (template, error) {
	var t template
	for s != "" {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			return append(t, term{text: s}), nil
		}
		if i > 0 {
			t = append(t, term{text: s[:i]})
		}
		end := closing(s, i, '{', '}')
		if end < 0 {
			return nil, fmt.Errorf("%q is not closed", s)
		}
		inner := s[i+1 : end]
		if generator, ok := strings.CutPrefix(inner, "{$"); ok {
			t = append(t, term{name: strings.TrimSuffix(generator, "}"), call: true})
			s = s[end+1:]
			continue
		}
		e, err := parseHole(inner)
		if err != nil {
			return nil, err
		}
		t, s = append(t, e), s[end+1:]
	}
	return t, nil
}

// parseHole reads what stands in braces: a name, or a function.
func parseHole(s string) (term, error) {
	if m := later.FindStringSubmatch(s); m != nil {
		days, err := strconv.Atoi(m[1])
		return term{name: "now", call: true, days: days, date: true}, err
	}
	name := identifier.FindString(s)
	rest := s[len(name):]
	switch {
	case name == "":
		return term{}, fmt.Errorf("{%s} is of no known form", s)
	case rest == "" && (name == "now" || name == "random"):
		return term{name: name, call: true}, nil
	case rest == "":
		return term{name: name}, nil
	case !strings.HasPrefix(rest, "(") || !strings.HasSuffix(rest, ")"):
		return term{}, fmt.Errorf("{%s} is of no known form", s)
	}
	inner := rest[1 : len(rest)-1]
	if fn := identifier.FindString(inner); fn != "" && strings.HasPrefix(inner[len(fn):], "(") {
		arg, err := parseHole(inner)
		return term{name: name, call: true, args: template{arg}}, err
	}
	args, err := parseTemplate(inner)
	return term{name: name, call: true, args: args}, err
}

// closing returns where the bracket at s[i] is closed.
func closing(s string, i int, open, shut byte) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case open:
			depth++
		case shut:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// names returns the variables of a template.
func (t template) names() []string {
	var list []string
	for _, e := range t {
		if e.name != "" && !e.call {
			list = append(list, e.name)
		}
		list = append(list, e.args.names()...)
	}
	return list
}

// functions of the facts and how the language calls them.
var functions = map[string]string{"base64": "$base64(%s)", "sha1hex": "$hex($sha1(%s))", "fingerprint": "$fingerprint(%s)"}

// generators likewise.
var generators = map[string]string{"random": "$uuid()", "guid": "$uuid()", "now": "$now()"}

// write returns the template as a dialect has it. variable gives what a name of
// the facts is in the dialect, "$name" or another value.
func (t template) write(variable func(string) (string, error)) (string, error) {
	var b strings.Builder
	for i, e := range t {
		switch {
		case e.call && e.date:
			fmt.Fprintf(&b, "$date($now(%dd))", e.days)
		case e.call && len(e.args) > 0:
			form, ok := functions[e.name]
			if !ok {
				return "", fmt.Errorf("needs a function %s, which the language does not have", e.name)
			}
			args, err := e.args.write(variable)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, form, args)
		case e.call:
			form, ok := generators[e.name]
			if !ok {
				return "", fmt.Errorf("needs a generator %s, which the language does not have", e.name)
			}
			b.WriteString(form)
		case e.name != "":
			v, err := variable(e.name)
			if err != nil {
				return "", err
			}
			b.WriteString(braced(v, t[i+1:]))
		default:
			b.WriteString(strings.ReplaceAll(e.text, "$", "$$"))
		}
	}
	return b.String(), nil
}

// braced puts a variable into braces where the text after it would go on with
// its name.
func braced(v string, after template) string {
	if len(after) == 0 || after[0].text == "" || !strings.HasPrefix(v, "$") {
		return v
	}
	if c := after[0].text[0]; c == '_' || c == '(' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
		return "${" + v[1:] + "}"
	}
	return v
}

// eval works a template out by hand.
func (t template) eval(value func(string) (string, bool), now time.Time) (string, error) {
	var b strings.Builder
	for _, e := range t {
		switch {
		case e.call:
			s, err := e.apply(value, now)
			if err != nil {
				return "", err
			}
			b.WriteString(s)
		case e.name != "":
			s, ok := value(e.name)
			if !ok {
				return "", missing(e.name)
			}
			b.WriteString(s)
		default:
			b.WriteString(e.text)
		}
	}
	return b.String(), nil
}

// missing says that a variable has no value.
type missing string

func (m missing) Error() string { return string(m) + " has no value" }

// errGenerated says that a value is made anew each time.
var errGenerated = errors.New("made anew each time")

func (e term) apply(value func(string) (string, bool), now time.Time) (string, error) {
	if e.date {
		return now.UTC().AddDate(0, 0, e.days).Format(time.DateOnly), nil
	}
	if len(e.args) == 0 {
		return "", errGenerated
	}
	arg, err := e.args.eval(value, now)
	if err != nil {
		return "", err
	}
	switch e.name {
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(arg)), nil
	case "sha1hex":
		sum := sha1.Sum([]byte(arg))
		return hex.EncodeToString(sum[:]), nil
	case "fingerprint":
		return fingerprint(arg)
	}
	return "", fmt.Errorf("no function %s", e.name)
}

// fingerprint is "SHA256:" and the digest of the public key that belongs to a
// private one.
func fingerprint(text string) (string, error) {
	key, err := privateKey(text)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.StdEncoding.EncodeToString(sum[:]), nil
}

func pemBlock(text string) (*pem.Block, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	return block, nil
}
