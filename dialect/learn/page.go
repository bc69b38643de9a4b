package learn

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// A page is what the exchanges of a paste are for.
type page struct {
	steps   []exchange // the login
	refresh []exchange
	calls   []exchange
	revoke  *exchange
}

var (
	loginPath   = regexp.MustCompile(`(?i)token|login|auth|sign-?in|session|logon|oauth|jwt|connect|identity`)
	refreshPath = regexp.MustCompile(`(?i)refresh|renew`)
	revokePath  = regexp.MustCompile(`(?i)revoke|logout|logoff|signout|sign-out|invalidate`)
)

// sortExchanges says what each exchange is for.
func sortExchanges(list []exchange) (page, error) {
	first, best := -1, 0
	for i, e := range list {
		if score := loginScore(e); score > best {
			first, best = i, score
		}
	}
	if first < 0 {
		return page{}, errors.New("none of the commands looks like a login: it sends credentials, or its answer has a token")
	}
	for i := first - 1; i >= 0; i-- {
		if list[i].answer != nil && uses(list[first].request, list[i].answer) && !isRefresh(list[i].request) {
			first = i
		}
	}
	p := page{steps: []exchange{list[first]}}
	for i, e := range list {
		last := p.steps[len(p.steps)-1]
		switch {
		case i == first:
		case revokePath.MatchString(e.request.path) && i > first:
			if p.revoke == nil {
				p.revoke = &list[i]
			}
		case isRefresh(e.request):
			p.refresh = append(p.refresh, e)
		case i > first && last.answer != nil && e.answer != nil && len(tokens(e.answer)) > 0 && loginScore(e) > 2 && uses(e.request, last.answer):
			p.steps = append(p.steps, e)
		case (i > first || e.request.bearer != "") && !sameURL(e.request, list[first].request): // a page may begin with a call
			p.calls = append(p.calls, e)
		}
	}
	return p, nil
}

func sameURL(a, b *request) bool {
	return a.host == b.host && a.path == b.path && a.method == b.method
}

// texts calls fn for every name and text of a request.
func (r *request) texts(fn func(name, text string)) {
	fn("", r.host)
	fn("", r.path)
	for _, p := range slices.Concat(r.query, r.headers, r.cookies, r.form) {
		fn(p.name, p.text)
	}
	if r.basic != nil {
		fn("basic", r.basic.name)
		fn("basic", r.basic.text)
	}
	fn("bearer", r.bearer)
	fn("", r.text)
	if r.doc != nil {
		r.doc.leaves(func(path []string, leaf *doc) {
			name := ""
			if len(path) > 0 {
				name = path[len(path)-1]
			}
			fn(name, leaf.text)
		})
	}
}

func isRefresh(r *request) bool {
	refresh := refreshPath.MatchString(r.path) && r.method != "GET"
	r.texts(func(name, text string) {
		l := letters(name)
		refresh = refresh || strings.HasPrefix(l, "refreshtoken") || l == "granttype" && text == "refresh_token"
	})
	return refresh
}

// loginScore says how much an exchange looks like a login.
func loginScore(e exchange) int {
	r, score := e.request, 0
	credentials := false
	r.texts(func(name, text string) {
		switch l := letters(name); {
		case l == "granttype":
			score += 3
		case text != "" && name != "" && (secretName(name) && name != "bearer" && l != "authorization" || canonical[l] == "client_id" || canonical[l] == "username" || name == "basic"):
			credentials = true
		}
	})
	if credentials {
		score += 2
	}
	if loginPath.MatchString(r.path) || loginPath.MatchString(r.host) {
		score += 2
	}
	if e.answer != nil && len(tokens(e.answer)) > 0 {
		score += 3
	}
	if r.method == "GET" || r.method == "HEAD" {
		score -= 2
	}
	if r.bearer != "" {
		score--
	}
	if isRefresh(r) {
		score -= 4
	}
	if revokePath.MatchString(r.path) {
		score -= 5
	}
	return score
}

// uses reports whether a request has something that an answer gave.
func uses(r *request, a *answer) bool {
	used := false
	given := a.all()
	r.texts(func(_, text string) {
		for _, f := range given {
			used = used || shares(text, f)
		}
	})
	return used
}

// shares reports whether a text of a request holds a text of an answer, or a
// placeholder of its name.
func shares(text string, f found) bool {
	if text == "" {
		return false
	}
	value := strings.TrimPrefix(f.text, "Bearer ")
	if len(value) >= 6 && !plain(value) && strings.Contains(text, value) {
		return true
	}
	words := []string{}
	for _, at := range holesIn(text) {
		words = append(words, placeholderName(holeWords(text[at[0]:at[1]])))
	}
	if name, ok := placeholder(text); ok {
		words = append(words, name)
	}
	for _, w := range words {
		l := strings.ReplaceAll(w, "_", "")
		if l != "" && len(l) > 3 && (l == letters(f.name) || l == strings.TrimPrefix(letters(f.name), "x")) && f.where != "header" {
			return true
		}
	}
	return false
}
