package learn

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A found is a text in an answer.
type found struct {
	path  []string // of a document
	where string   // "body", "header", "cookie" or "text"
	name  string   // of the field
	text  string
	score int // how likely it is the token
}

// all returns the texts of an answer.
func (a *answer) all() []found {
	var list []found
	for _, h := range a.headers {
		if http.CanonicalHeaderKey(h.name) == "Set-Cookie" {
			value, _, _ := strings.Cut(h.text, ";")
			if name, text, ok := strings.Cut(value, "="); ok && text != "" && !strings.ContainsFunc(name, notToken) {
				list = append(list, found{where: "cookie", name: strings.TrimSpace(name), text: strings.TrimSpace(text)})
			}
			continue
		}
		list = append(list, found{where: "header", name: h.name, text: h.text})
	}
	if a.doc != nil {
		labels := map[*doc]string{}
		a.doc.labels(labels)
		a.doc.leaves(func(path []string, leaf *doc) {
			name := ""
			if len(path) > 0 {
				name = path[len(path)-1]
				if name == "#text" && len(path) > 1 {
					name = path[len(path)-2]
				}
			}
			if label, ok := labels[leaf]; ok {
				name = label
			}
			if leaf.kind == docText {
				list = append(list, found{path: path, where: "body", name: name, text: leaf.text})
			}
		})
	}
	if a.text != "" {
		list = append(list, found{where: "text", text: a.text})
	}
	return list
}

// labels gathers the texts that the field beside them names, as in {"type":
// "access", "value": "..."}.
func (d *doc) labels(into map[*doc]string) {
	for i, kid := range d.kids {
		kid.labels(into)
		if d.kind != docObject || kid.kind != docText || !valueKey.MatchString(d.keys[i]) {
			continue
		}
		for j, key := range d.keys {
			if label := d.kids[j]; labelKey.MatchString(key) && label.kind == docText && tokenLabel.MatchString(label.text) {
				into[kid] = label.text
			}
		}
	}
}

var (
	labelKey   = regexp.MustCompile(`^(?i:type|name|key|kind|token_?type)$`)
	valueKey   = regexp.MustCompile(`^(?i:value|content|token|text|string)$`)
	tokenLabel = regexp.MustCompile(`^(?i:[a-z_-]*token|jwt|access|refresh|session|id)$`)
)

var tokenScores = map[string]int{
	"accesstoken": 100, "access": 88, "token": 90, "authtoken": 86, "authenticationtoken": 86, "authorizationtoken": 86, "bearertoken": 86,
	"apitoken": 84, "jwt": 84, "jwttoken": 84, "tokenvalue": 84, "tokenid": 70, "idtoken": 72, "sessiontoken": 76,
	"sessionid": 66, "session": 62, "sid": 62, "sessionkey": 64, "sessioncookie": 62, "ticket": 62, "authorization": 58, "bearer": 80,
	"authkey": 60, "authticket": 62, "key": 40, "apikey": 40, "accesskey": 45,
}

var (
	notTheToken = regexp.MustCompile(`refresh|csrf|xsrf|type|expir|device|push|reset|request|scope|nonce|url`)
	cookieToken = regexp.MustCompile(`(?i)sess|token|auth|jwt|sid|ticket|^apex|login`)
)

// tokens returns what could be the access token, the likeliest first.
func tokens(a *answer) []found {
	var list []found
	for _, f := range a.all() {
		if f.score = tokenScore(f); f.score > 0 {
			list = append(list, f)
		}
	}
	slices.SortStableFunc(list, func(x, y found) int { return cmp.Compare(y.score, x.score) })
	return list
}

func tokenScore(f found) int {
	name := strings.TrimPrefix(letters(underRefresh(f.path, f.name)), "x")
	value := strings.TrimPrefix(f.text, "Bearer ")
	switch {
	case f.text == "" || f.where != "body" && strings.ContainsAny(placeholderless(value), " \t\n"):
		return 0
	case notTheToken.MatchString(name):
		return 0
	}
	random := jwtForm.MatchString(value) || revealing(value) || len(value) >= 24 && !strings.ContainsAny(value, " ")
	switch f.where {
	case "cookie":
		if cookieToken.MatchString(f.name) && !strings.HasPrefix(strings.ToLower(f.name), "__cf") {
			return 30
		}
		return 0
	case "text":
		return 50
	case "header":
		if strings.Contains(name, "token") || name == "authorization" || strings.Contains(name, "session") {
			return 45
		}
		return 0
	}
	score := tokenScores[name]
	if score == 0 && strings.HasSuffix(name, "token") && !strings.HasPrefix(name, "id") {
		score = 60
	}
	if score == 0 && (strings.HasSuffix(name, "sessionid") || strings.HasSuffix(name, "jwt")) {
		score = 60
	}
	above := f.path[:max(len(f.path)-1, 0)]
	aToken := func(k string) bool {
		return strings.Contains(letters(k), "token") && !notTheToken.MatchString(letters(k))
	}
	inToken := slices.ContainsFunc(above, aToken)
	switch {
	case inToken && (name == "value" || name == "content" || name == "id" && aToken(above[len(above)-1])):
		score = 70
	case score == 0 && jwtForm.MatchString(value):
		score = 40
	case score == 0 && random && (name == "data" || name == "result" || name == "value" || name == "response" || name == "" || name == "d"):
		score = 30
	case score > 0 && score < 70 && !random && len(value) < 8:
		score /= 2
	}
	if score == 0 {
		return 0
	}
	if inToken {
		score += 5
	}
	return max(score-2*len(f.path), 1)
}

// underRefresh is the name of a field that stands at a path, as it would be
// called outside an object that is all about the refresh token.
func underRefresh(path []string, name string) string {
	if len(path) < 2 {
		return name
	}
	if above := letters(path[len(path)-2]); above != "refresh" && above != "refreshtoken" {
		return name
	}
	if l := letters(name); l == "value" || l == "jwt" || l == "id" {
		name = "token"
	}
	return "refresh_" + name
}

// pickToken says which text of an answer is the token.
func (m *maker) pickToken(a *answer) (found, bool, error) {
	list := tokens(a)
	if len(list) == 0 {
		return found{}, false, nil
	}
	if len(list) > 1 && list[1].score == list[0].score {
		var names []string
		for _, f := range list {
			if f.score == list[0].score && !slices.Contains(names, f.title()) {
				names = append(names, f.title())
			}
		}
		if len(names) > 1 {
			picked, err := m.ask("Which field of the answer is the token?", names...)
			if err != nil {
				return found{}, false, err
			}
			for _, f := range list {
				if f.title() == picked {
					return f, true, nil
				}
			}
		}
	}
	return list[0], true, nil
}

// title names a text of an answer for people.
func (f found) title() string {
	if len(f.path) > 0 {
		return strings.Join(f.path, ".")
	}
	if f.name != "" {
		return f.name
	}
	return "the whole body"
}

// A reply is the template of an answer.
type reply struct {
	body    *doc // JSON or XML; of kind docText: the whole body
	xml     bool
	headers []pair
	cookies []pair
}

func (r *reply) empty() bool {
	return r == nil || r.body == nil && len(r.headers) == 0 && len(r.cookies) == 0
}

// reply makes a template of an answer. more holds what later requests use:
// text -> hole.
func (m *maker) reply(a *answer, token *found, more map[string]string) (*reply, error) {
	r := &reply{xml: a.xml}
	for _, f := range a.all() {
		if looksLikeSecretField(f) {
			m.secret(strings.TrimPrefix(f.text, "Bearer "))
		}
		name, used := more[f.text]
		isToken := token != nil && f.where == token.where && f.name == token.name && f.text == token.text
		if !used && !isToken {
			continue
		}
		t := hole(name)
		if isToken {
			t = m.tokenHole(f.text)
		}
		switch f.where {
		case "header":
			r.headers = append(r.headers, pair{strings.ToLower(f.name), t})
		case "cookie":
			r.cookies = append(r.cookies, pair{f.name, t})
		case "text":
			r.body = m.wholeBody(f.text, t)
		}
	}
	if a.doc != nil {
		body, holes, err := m.replyTree(nil, a.doc, token, more)
		if err != nil {
			return nil, err
		}
		if holes > 0 {
			r.body = body
		}
	}
	return r, nil
}

func looksLikeSecretField(f found) bool {
	return f.where == "text" || f.where == "cookie" || secretName(f.name) || revealing(f.text) && f.where == "body"
}

func (m *maker) tokenHole(text string) string {
	if rest, ok := strings.CutPrefix(text, "Bearer "); ok && rest != "" {
		m.secret(rest)
		return "Bearer $access_token"
	}
	m.secret(text)
	return "$access_token"
}

// wholeBody makes a template of a body that is no document.
func (m *maker) wholeBody(body, t string) *doc {
	if formAnswer.MatchString(body) {
		var parts []string
		for part := range strings.SplitSeq(body, "&") {
			name, value, _ := strings.Cut(part, "=")
			switch letters(name) {
			case "accesstoken", "refreshtoken", "expiresin", "scope":
				m.secret(value)
				parts = append(parts, name+"="+hole(canonicalOr(name)))
			default:
				if !plain(value) {
					value = "$" + variableName(name)
				}
				parts = append(parts, name+"="+value)
			}
		}
		return text(strings.Join(parts, "&"))
	}
	if strings.HasPrefix(body, `"`) {
		m.secret(strings.Trim(body, `"`))
		return text("$json(" + t + ")")
	}
	return text(t)
}

func canonicalOr(name string) string {
	if letters(name) == "expiresin" {
		return "expires_in"
	}
	return variableName(name)
}

// replyTree keeps what has a hole, the token's type, and words that say that
// all went well.
func (m *maker) replyTree(path []string, d *doc, token *found, more map[string]string) (*doc, int, error) {
	switch d.kind {
	case docText, docLiteral:
		return m.replyLeaf(path, d, token, more)
	case docList:
		return m.replyList(path, d, token, more)
	}
	t, total := &doc{kind: docObject}, 0
	for i, kid := range d.kids {
		k, holes, err := m.replyTree(append(slices.Clone(path), d.keys[i]), kid, token, more)
		if err != nil {
			return nil, 0, err
		}
		if k == nil || k.kind != docText && k.kind != docLiteral && holes == 0 {
			continue
		}
		if revealing(d.keys[i]) && holes == 0 || slices.Contains(m.secrets, d.keys[i]) {
			continue
		}
		if revealing(d.keys[i]) {
			m.notef("The name of a field in the answer looks like an account's own, which a dialect cannot leave open.")
		}
		t.set(d.keys[i], k)
		total += holes
	}
	if len(t.kids) == 0 {
		return nil, 0, nil
	}
	return t, total, nil
}

// replyList keeps one item of a list, at its place: the one with the token, else
// the first with a hole.
func (m *maker) replyList(path []string, d *doc, token *found, more map[string]string) (*doc, int, error) {
	list := &doc{kind: docList}
	elsewhere := token != nil && d.has(token.text)
	for _, kid := range d.kids {
		if !elsewhere || kid.has(token.text) {
			t, holes, err := m.replyTree(path, kid, token, more)
			if err != nil {
				return nil, 0, err
			}
			if holes > 0 {
				list.kids = append(list.kids, t)
				return list, holes, nil
			}
		}
		list.kids = append(list.kids, kid.blank())
	}
	return nil, 0, nil
}

// has reports whether a text of the document is that one.
func (d *doc) has(s string) bool {
	has := false
	d.leaves(func(_ []string, leaf *doc) { has = has || leaf.kind == docText && leaf.text == s })
	return has
}

// blank is what stands for an item that does not matter.
func (d *doc) blank() *doc {
	if d.kind == docObject || d.kind == docList {
		return &doc{kind: d.kind}
	}
	return &doc{kind: docLiteral, text: "null"}
}

var (
	statusWord = regexp.MustCompile(`^(?:success|successful|succeeded|ok|status|statuscode|code|errcode|errno|error|errorcode|haserror|iserror|type|resulttype|valid|authenticated|message|msg)$`)
	good       = regexp.MustCompile(`^(?i:ok|success|successful|succeeded|true|false|0|200|201|bearer|valid|active|authenticated)$`)
	none       = regexp.MustCompile(`^(?i:none|null|n/a|nil)$`)
)

func (m *maker) replyLeaf(path []string, d *doc, token *found, more map[string]string) (*doc, int, error) {
	name := ""
	if len(path) > 0 {
		name = path[len(path)-1]
		if name == "#text" && len(path) > 1 {
			name = path[len(path)-2]
		}
	}
	name = underRefresh(path, name)
	l := letters(name)
	if token != nil && token.where == "body" && d.kind == docText && slices.Equal(path, token.path) && d.text == token.text {
		return text(m.tokenHole(d.text)), 1, nil
	}
	if hole, ok := more[d.text]; ok && d.kind == docText {
		return text("$" + hole), 1, nil
	}
	switch {
	case d.text == "" || d.text == "null" && d.kind == docLiteral:
		return nil, 0, nil
	case refreshName(l):
		if d.kind != docText {
			return nil, 0, nil
		}
		if none.MatchString(d.text) {
			return text(literal(d.text)), 0, nil
		}
		m.secret(d.text)
		m.refresh = d.text
		return text("$refresh_token"), 1, nil
	case l == "scope" && d.kind == docText:
		return text("$scope"), 1, nil
	case (l == "userid" || l == "user") && d.kind == docText && token != nil && len(path) == 1:
		return text("$user_id"), 1, nil
	case (l == "tokentype" || l == "bearertype") && d.kind == docText && plain(d.text):
		if _, stands := placeholder(d.text); stands {
			return nil, 0, nil
		}
		return text(literal(d.text)), 0, nil
	case expiryName(l, path):
		if token == nil {
			return nil, 0, nil // of what a step gives, not of the token
		}
		return m.expiry(name, d)
	case d.text != "" && statusWord.MatchString(l) && good.MatchString(d.text):
		return &doc{kind: d.kind, text: d.text}, 0, nil
	}
	return nil, 0, nil
}

// refreshName reports whether a field of these letters is a refresh token.
func refreshName(l string) bool {
	return strings.HasPrefix(l, "refreshtoken") && !strings.Contains(l, "exp") && len(l) < 16 || l == "refresh"
}

var expiryWord = regexp.MustCompile(`^(?:access|auth|jwt|id|session|bearer|api)?(?:token)?(?:expires?|expiry|expiration|expired|ttl|validity|lifetime|lifespan|validuntil|validto|validfor|exp|timetolive|maxage)(?:in|at|on|time|date|datetime|timestamp|period|interval|s|sec|secs|seconds|inseconds|insecs|ms|millis|milliseconds|inms|inmilliseconds|inmillis|min|mins|minutes|inminutes|inmins|hours|inhours|utc|epoch|unix|intervalinseconds)*$`)

func expiryName(l string, path []string) bool {
	return l != "" && (expiryWord.MatchString(l) || strings.HasPrefix(l, "refresh") && expiryWord.MatchString(strings.TrimPrefix(strings.TrimPrefix(l, "refresh"), "token")))
}

var (
	dhm       = regexp.MustCompile(`^\d+:\d{2}:\d{2}$`)
	dateOnly  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)
	rfc3339   = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$`)
	clockName = regexp.MustCompile(`at$|on$|until|date|time(?:stamp)?$|epoch|unix|utc|validto`)
)

// expiry chooses the codec for what says when the token ends.
func (m *maker) expiry(name string, d *doc) (*doc, int, error) {
	l := letters(name)
	in, at := "expires_in", "expires_at"
	if strings.HasPrefix(l, "refresh") {
		in, at = "refresh_expires_in", "refresh_expires_at"
	}
	quoted := d.kind == docText
	wrap := func(codec, name string) (*doc, int, error) {
		t := "$" + name
		if codec != "" {
			t = "$" + codec + "(" + t + ")"
		}
		return &doc{text: t, quoted: quoted && codec != "iso" && codec != "date" && codec != "dhm"}, 1, nil
	}
	switch {
	case quoted && rfc3339.MatchString(d.text):
		if _, err := time.Parse(time.RFC3339, d.text); err == nil {
			return wrap("iso", at)
		}
	case quoted && dateOnly.MatchString(d.text):
		return wrap("date", at)
	case quoted && dhm.MatchString(d.text):
		return wrap("dhm", in)
	}
	n, err := strconv.ParseFloat(d.text, 64)
	if err != nil || d.kind == docLiteral && !d.number() {
		if _, stands := placeholder(d.text); stands && !clockName.MatchString(l) {
			return wrap("", in)
		}
		m.notef("The form of %s in the answer is none that a dialect knows: left out.", shown(name, "the expiry"))
		return nil, 0, nil
	}
	switch {
	case n >= 1e11:
		return wrap("unix_ms", at)
	case n >= 9e8:
		return wrap("unix", at)
	case n <= 0:
		return nil, 0, nil
	case strings.Contains(l, "sec"), l == "expiresin" && n < 600000:
		return wrap("", in)
	case regexp.MustCompile(`ms$|milli`).MatchString(l):
		return wrap("ms", in)
	case regexp.MustCompile(`mins?$|minutes$`).MatchString(l):
		return wrap("min", in)
	case strings.HasSuffix(l, "hours"):
		return wrap("hours", in)
	}
	return m.unit(name, n, in, wrap)
}

// unit asks for the unit of a lifetime whose name does not tell.
func (m *maker) unit(name string, n float64, in string, wrap func(codec, name string) (*doc, int, error)) (*doc, int, error) {
	l := letters(name)
	units := []string{"seconds", "milliseconds"}
	switch {
	case n >= 600000 && int64(n)%60000 == 0 && !(int64(n)%86400 == 0 && n <= 400*86400 && int64(n)%3600000 != 0):
		units = []string{"milliseconds", "seconds"}
	case l != "expiresin" && n <= 24:
		units = []string{"hours", "minutes", "seconds"}
	case l != "expiresin" && n <= 120:
		units = []string{"minutes", "seconds", "hours"}
	case n < 600000 && l != "expiresin" || n < 1e8:
		return wrap("", in)
	}
	if l == "expiresin" && n <= 120 {
		return wrap("", in)
	}
	unit, err := m.ask("In what does the answer count "+shown(name, "the expiry")+"?", units...)
	if err != nil {
		return nil, 0, err
	}
	return wrap(map[string]string{"milliseconds": "ms", "minutes": "min", "hours": "hours"}[unit], in)
}

// shown is a name as people may see it, for it could be a value that slipped.
func shown(name, otherwise string) string {
	if name == "" || revealing(name) || len(name) > 40 {
		return otherwise
	}
	return name
}

// standard reports whether the template says no more than RFC 6749 section 5.1
// does: then a file leaves it out.
func (r *reply) standard() bool {
	if r.empty() || r.xml || len(r.headers) > 0 || len(r.cookies) > 0 || r.body.kind != docObject {
		return false
	}
	for i, key := range r.body.keys {
		kid := r.body.kids[i]
		switch key {
		case "access_token", "expires_in", "refresh_token", "scope":
			if kid.text != "$"+key || kid.quoted {
				return false
			}
		case "token_type":
			if !strings.EqualFold(kid.text, "bearer") {
				return false
			}
		default:
			if strings.Contains(string(kid.appendJSON(nil)), "$") {
				return false
			}
		}
	}
	return slices.Contains(r.body.keys, "access_token")
}

// wire is the answer as a vendor would send it.
func (a *answer) wire() (header http.Header, body []byte) {
	header = http.Header{}
	for _, h := range a.headers {
		header.Add(h.name, h.text)
	}
	if a.doc != nil && !a.xml {
		return header, a.doc.appendJSON(nil)
	}
	return header, []byte(a.raw + a.text)
}
