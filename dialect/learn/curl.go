package learn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// A pair is a field and its text.
type pair struct{ name, text string }

// A request is an HTTP request: as a page shows it, as a template, or as the
// template is to come out when it is filled.
type request struct {
	method  string
	scheme  string
	host    string
	path    string // escaped as pasted; "" or with a leading slash
	query   []pair
	headers []pair
	cookies []pair
	basic   *pair // name and password
	bearer  string

	body bodyKind
	form []pair
	doc  *doc   // of JSON and XML
	text string // of another body
	tls  bool
	line int

	loose bool // the body on the page is not quite JSON
	multi bool // the page sends multipart/form-data
	whole bool // of a call: the URL but its last segment is the base
	bare  bool // a POST without a body, whose meaning is not a login
}

type bodyKind int

const (
	bodyNone bodyKind = iota
	bodyForm
	bodyJSON
	bodyXML
	bodyText
)

func (r *request) header(name string) string {
	for _, h := range r.headers {
		if strings.EqualFold(h.name, name) {
			return h.text
		}
	}
	return ""
}

// withoutToken returns the request without what Authorization has, basic aside.
func (r *request) withoutToken() *request {
	c := *r
	c.bearer, c.form = "", slices.Clone(r.form)
	c.headers = slices.DeleteFunc(slices.Clone(r.headers), func(h pair) bool { return strings.EqualFold(h.name, "Authorization") })
	return &c
}

func (r *request) origin() string { return r.scheme + "://" + r.host }

// Options of curl that take an argument, beside those that say what is sent.
var skipped = strings.Fields(`--abstract-unix-socket --alt-svc --cacert --capath --cert-type --ciphers --connect-timeout
--connect-to --continue-at --cookie-jar --create-file-mode --crlfile --curves --delegation --dns-servers --doh-url
--dump-header --egd-file --engine --etag-compare --etag-save --expect100-timeout --happy-eyeballs-timeout-ms --hsts
--interface --keepalive-time --key-type --limit-rate --local-port --max-filesize --max-redirs --max-time --noproxy
--output --output-dir --pass --pinnedpubkey --proto --proto-default --proto-redir --proxy --proxy-header --proxy-user
--range --referer --resolve --retry --retry-delay --retry-max-time --speed-limit --speed-time --stderr --tls-max
--tls13-ciphers --trace --trace-ascii --user-agent --write-out --variable`)

// Options of curl that change nothing here.
var ignored = strings.Fields(`--insecure --silent --show-error --location --location-trusted --include --verbose --compressed
--fail --fail-with-body --no-buffer --globoff --http1.0 --http1.1 --http2 --http3 --http2-prior-knowledge --ipv4 --ipv6
--progress-bar --remote-name --tlsv1 --tlsv1.0 --tlsv1.1 --tlsv1.2 --tlsv1.3 --basic --anyauth --no-progress-meter
--path-as-is --remote-header-name --ssl-no-revoke --raw --tr-encoding --junk-session-cookies --no-keepalive
--no-sessionid --styled-output --post301 --post302 --post303 --disable --ssl-reqd --tcp-nodelay`)

// short are the long names of one-letter options.
var short = map[byte]string{
	'X': "--request", 'd': "--data", 'H': "--header", 'u': "--user", 'G': "--get", 'F': "--form", 'b': "--cookie",
	'E': "--cert", 'I': "--head", 'T': "--upload-file", 'K': "--config", 'n': "--netrc",
	'A': "--user-agent", 'c': "--cookie-jar", 'C': "--continue-at", 'D': "--dump-header", 'e': "--referer",
	'm': "--max-time", 'o': "--output", 'r': "--range", 'U': "--proxy-user", 'w': "--write-out", 'x': "--proxy",
	'y': "--speed-time", 'Y': "--speed-limit", 'k': "--insecure", 's': "--silent", 'S': "--show-error",
	'L': "--location", 'i': "--include", 'v': "--verbose", 'f': "--fail", 'N': "--no-buffer", 'g': "--globoff",
	'4': "--ipv4", '6': "--ipv6", '0': "--http1.0", '1': "--tlsv1", '2': "--tlsv1", '#': "--progress-bar",
	'O': "--remote-name", 'J': "--remote-header-name", 'q': "--disable", 'j': "--junk-session-cookies",
}

var withArgument = append(strings.Fields(`--request --data --data-raw --data-binary --data-ascii --data-urlencode --json
--url-query --header --user --form --form-string --cookie --cert --key --oauth2-bearer --url --upload-file --config --netrc-file --aws-sigv4`), skipped...)

// A line is a curl command line, its options sorted out.
type line struct {
	url     []string
	method  string
	data    []pair // name "" for plain text, "=" in front of one that is not encoded
	query   []pair // that stands in the URL whatever the data is, likewise
	headers []string
	user    string
	bearer  string
	cookies []string
	get     bool
	head    bool
	json    bool
	multi   bool // --form
	tls     bool
	stdin   string // "" if the paste does not have it
}

// parseCurl reads a command as a request. Errors name options, never values.
func parseCurl(c command) (*request, error) {
	l, err := sortOut(c)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", c.line, err)
	}
	r, err := l.request()
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", c.line, err)
	}
	r.line = c.line
	return r, nil
}

var optionName = regexp.MustCompile(`^--[a-z][a-z0-9.-]{1,24}$`)

func sortOut(c command) (*line, error) {
	l, words := &line{stdin: c.stdin}, c.words
	for i := 0; i < len(words); i++ {
		word := strings.NewReplacer("–", "--", "—", "--").Replace(words[i])
		if word == words[i] || !strings.HasPrefix(word, "--") {
			word = words[i]
		} else if rest := strings.TrimLeft(word, "-"); len(rest) == 1 {
			word = "-" + rest // a page made one long dash of one or two
		} else {
			word = "--" + rest
		}
		if len(word) < 2 || word[0] != '-' {
			l.url = append(l.url, word)
			continue
		}
		for _, o := range split(word) {
			if slices.Contains(withArgument, o.name) && !o.has {
				if i++; i >= len(words) {
					return nil, fmt.Errorf("nothing follows the option %s", o.name)
				}
				o.text = words[i]
			}
			if err := l.option(o.name, o.text); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

type option struct {
	name, text string
	has        bool // the word holds the argument too
}

// split returns the options that one word holds.
func split(word string) []option {
	if strings.HasPrefix(word, "--") {
		name, text, has := strings.Cut(word, "=")
		return []option{{name, text, has}}
	}
	var list []option
	for i := 1; i < len(word); i++ {
		name := short[word[i]]
		o := option{name: name}
		if slices.Contains(withArgument, name) {
			o.text, o.has = word[i+1:], i+1 < len(word)
			return append(list, o)
		}
		list = append(list, o)
	}
	return list
}

func (l *line) option(name, text string) error {
	switch name {
	case "--request":
		l.method = strings.ToUpper(text)
	case "--data", "--data-ascii", "--data-binary", "--json":
		if text == "@-" && l.stdin != "" {
			text = l.stdin
		} else if strings.HasPrefix(text, "@") {
			return fmt.Errorf("the body is in a file (%s @...): put the text of the file in its place", name)
		}
		if name == "--json" && l.json {
			l.data[len(l.data)-1].text += text // curl puts no & between
			return nil
		}
		l.json = l.json || name == "--json"
		l.data = append(l.data, pair{"", text})
	case "--data-raw":
		l.data = append(l.data, pair{"", text})
	case "--data-urlencode", "--url-query":
		p, err := urlencoded(name, text)
		if err != nil {
			return err
		}
		if name == "--url-query" {
			l.query = append(l.query, p)
		} else {
			l.data = append(l.data, p)
		}
	case "--form", "--form-string":
		p, err := formField(name, text)
		if err != nil {
			return err
		}
		l.multi = true
		l.data = append(l.data, p)
	case "--header":
		if strings.HasPrefix(text, "@") {
			return errors.New("headers are in a file (--header @...): put its lines in its place, each behind a --header")
		}
		l.headers = append(l.headers, text)
	case "--user":
		l.user = text
	case "--oauth2-bearer":
		l.bearer = text
	case "--cookie":
		l.cookies = append(l.cookies, text)
	case "--cert", "--key":
		l.tls = true
	case "--get":
		l.get = true
	case "--head":
		l.head = true
	case "--url":
		l.url = append(l.url, text)
	case "--digest", "--ntlm", "--negotiate", "--aws-sigv4":
		return fmt.Errorf("curl signs the request or answers a challenge (%s), which cannot be learned", name)
	case "--upload-file", "--config", "--netrc", "--netrc-file", "--netrc-optional":
		return fmt.Errorf("the request needs a file (%s): paste the command without it", name)
	default:
		switch {
		case slices.Contains(skipped, name), slices.Contains(ignored, name):
		case optionName.MatchString(name) && !revealing(name):
			return fmt.Errorf("unknown option %s", name)
		default:
			return errors.New("an option that curl does not have")
		}
	}
	return nil
}

// urlencoded reads the argument of --data-urlencode; the name of the pair gets
// an equals sign in front, which says that the text is not encoded.
func urlencoded(option, text string) (pair, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok && strings.Contains(text, "@") {
		return pair{}, fmt.Errorf("the value is in a file (%s name@file): write name=value", option)
	}
	if !ok {
		return pair{"=", text}, nil
	}
	return pair{"=" + name, value}, nil
}

var (
	formQuoted = regexp.MustCompile(`^"((?:[^"\\]|\\.)*)"`)
	formWords  = regexp.MustCompile(`;\s*(?:type|filename|headers|encoder)=.*$`) // what curl reads behind the value
)

// formField reads the argument of --form, whose value may have quotes and words
// for curl behind it, or of --form-string, whose value is the text as it is.
func formField(option, text string) (pair, error) {
	field, value, ok := strings.Cut(text, "=")
	if option == "--form" {
		if m := formQuoted.FindStringSubmatch(value); m != nil {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[1])
		} else {
			value = formWords.ReplaceAllString(value, "")
		}
		ok = ok && !strings.HasPrefix(value, "@") && (!strings.HasPrefix(value, "<") || angle.MatchString(value))
	}
	if !ok {
		return pair{}, fmt.Errorf("the request uploads a file (%s): a dialect has no such thing", option)
	}
	return pair{"=" + field, value}, nil
}

func (l *line) request() (*request, error) {
	if len(l.url) == 0 {
		return nil, errors.New("the curl command has no URL")
	}
	r := &request{tls: l.tls}
	at := slices.IndexFunc(l.url, func(u string) bool { return strings.Contains(u, "://") })
	if len(l.url) > 1 && at < 0 {
		return nil, errors.New("the curl command has more than one URL; a value with a blank needs quotes")
	}
	if err := r.setURL(l.url[max(at, 0)]); err != nil {
		return nil, err
	}
	r.query = append(r.query, fields(l.query)...)
	for _, h := range l.headers {
		if err := r.addHeader(h); err != nil {
			return nil, err
		}
	}
	for _, c := range l.cookies {
		r.addCookies(c)
	}
	if l.user != "" {
		name, password, _ := cutOutside(l.user, ':')
		r.basic = &pair{name, password}
	}
	if l.bearer != "" {
		r.bearer = l.bearer
	}
	if r.basic != nil && r.bearer != "" || (r.basic != nil || r.bearer != "") && r.header("Authorization") != "" {
		return nil, errors.New("the request has more than one value for the Authorization header")
	}
	switch {
	case l.method != "":
		r.method = l.method
	case l.head:
		r.method = "HEAD"
	case len(l.data) > 0 && !l.get:
		r.method = "POST"
	default:
		r.method = "GET"
	}
	if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}, r.method) {
		return nil, errors.New("the method is none that a dialect can have")
	}
	return r, l.setBody(r)
}

var hostChars = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]*$`)

var schemeless = regexp.MustCompile(`^[A-Za-z0-9<{$\x{E000}\[%]`)

// setURL takes a URL apart, whatever placeholders stand in it.
func (r *request) setURL(s string) error {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "<http") && strings.HasSuffix(s, ">") {
		s = s[1 : len(s)-1]
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		if !schemeless.MatchString(s) {
			return errors.New("the URL of the curl command is none")
		}
		scheme, rest = "https", s
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := cutOutside(rest, '?')
	host, path, slash := cutOutside(rest, '/')
	if slash {
		path = "/" + path
	}
	if at := strings.LastIndex(host, "@"); at >= 0 {
		name, password, _ := cutOutside(host[:at], ':')
		r.basic, host = &pair{unescape(name), unescape(password)}, host[at+1:]
	}
	if host == "" || !hostChars.MatchString(placeholderless(host)) {
		return errors.New("the URL of the curl command has no host")
	}
	r.scheme, r.host, r.path = "https", host, path
	if strings.EqualFold(scheme, "http") {
		name := host
		if h, _, err := net.SplitHostPort(host); err == nil {
			name = h
		}
		if jeton.IsLoopback(name) {
			r.scheme = "http"
		}
	}
	r.query = parseForm(query)
	return nil
}

// cutOutside is strings.Cut that does not look into placeholders.
func cutOutside(s string, sep rune) (before, after string, found bool) {
	depth := 0
	for i, c := range s {
		switch c {
		case varOpen, '{', '<':
			depth++
		case varClose, '}', '>':
			depth--
		case sep:
			if depth <= 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return s, "", false
}

// parseForm reads fields, encoded or as a page leaves them.
func parseForm(s string) []pair {
	var list []pair
	for _, part := range strings.FieldsFunc(s, func(c rune) bool { return c == '&' || c == '\n' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		list = append(list, pair{unescape(name), unescape(value)})
	}
	return list
}

// unescape undoes percent-encoding unless the text is a placeholder in percent
// signs or not encoded at all.
func unescape(s string) string {
	if percentHole.MatchString(s) {
		return s
	}
	if plain, err := url.QueryUnescape(s); err == nil && !strings.ContainsFunc(plain, isMark) {
		return restoreMarks(s, plain)
	}
	return s
}

func isMark(c rune) bool { return c == '\uFFFD' }

// restoreMarks keeps a blank inside a placeholder from being read as a plus.
func restoreMarks(s, plain string) string {
	if strings.ContainsRune(s, varOpen) && !strings.Contains(s, "%") && !strings.Contains(s, "+") {
		return s
	}
	return plain
}

func (r *request) addHeader(h string) error {
	name, value, ok := strings.Cut(h, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" || strings.ContainsFunc(name, notToken) {
		return errors.New("a header of the curl command is not of the form Name: value")
	}
	switch {
	case value == "":
	case strings.EqualFold(name, "Authorization"):
		r.authorize(value)
	case strings.EqualFold(name, "Cookie"):
		r.addCookies(value)
	default:
		r.headers = append(r.headers, pair{name, value})
	}
	return nil
}

// notToken is the complement of the characters of RFC 9110 section 5.6.2.
func notToken(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

func (r *request) addCookies(s string) {
	for part := range strings.SplitSeq(s, ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && !strings.ContainsFunc(name, notToken) {
			r.cookies = append(r.cookies, pair{name, value})
		}
	}
}

// authorize reads the value of an Authorization header.
func (r *request) authorize(value string) {
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Basic") && rest != "":
		if p, ok := basicPair(rest); ok {
			r.basic = &p
			return
		}
	case strings.EqualFold(scheme, "Bearer") && rest != "" && !strings.ContainsAny(placeholderless(rest), " \t"):
		r.bearer = rest
		return
	}
	r.headers = append(r.headers, pair{"Authorization", value})
}

var spelled = regexp.MustCompile(`(?i)([A-Za-z][A-Za-z0-9_-]*(?: (?:id|key|name))?)[)}>\]]*\s*[:+]\s*["':+\s]*[({<\[]*\s*([A-Za-z][A-Za-z0-9_-]*(?: (?:secret|key|password))?)`)

// basicPair reads what stands behind the word Basic: base64, the pair as it
// is before that, or words that say what is to be encoded.
func basicPair(s string) (pair, bool) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding} {
		b, err := e.DecodeString(s)
		if name, password, ok := strings.Cut(string(b), ":"); err == nil && ok && printable(string(b)) {
			return pair{name, password}, true
		}
	}
	inner := strings.Trim(s, "<>{}[]()$"+string(varOpen)+string(varClose))
	named := strings.Contains(strings.ToLower(s), "base64") || strings.Contains(strings.ToLower(s), "encode")
	inner = regexp.MustCompile(`(?i)^(?:to)?base64[ _-]?(?:url)?[ _-]?(?:encoded?|encode)?[ _-]?(?:string)?(?: of)?[ (:{<]*`).ReplaceAllString(inner, "")
	if strings.Contains(inner, string(varOpen)) || strings.Contains(inner, ":") && !named {
		if name, password, ok := cutOutside(strings.Trim(inner, "()<> "), ':'); ok {
			return pair{name, password}, true
		}
	}
	if m := spelled.FindStringSubmatch(inner); m != nil {
		return pair{"<" + m[1] + ">", "<" + m[2] + ">"}, true
	}
	if name := snake(inner); named || regexp.MustCompile(`credential|encoded|^auth`).MatchString(name) {
		return pair{"<client_id>", "<client_secret>"}, true
	}
	return pair{}, false
}

func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
