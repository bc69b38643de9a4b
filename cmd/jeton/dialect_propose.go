package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/console"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/learn"
)

// propose says what to change where the answer is not as the dialect says.
func (a *app) propose(t *try, x *dialect.Exchange, answer *http.Response, body []byte, failed error) {
	if refusal, ok := errors.AsType[*jeton.Error](failed); ok {
		a.sayf("\n%s", hint(t.d, x, refusal, answer))
		return
	}
	draft, err := redraft(t, x, answer, body)
	if err != nil {
		a.sayf("\nNothing in the answer looks like a token. If the vendor says no so, write under `ok` what a good answer has.")
		return
	}
	a.sayf("\nFrom this answer the exchange would be written so; compare `returns`:\n\n%s", draft.YAML())
}

// redraft writes the exchange anew from what was sent and what came, headers and
// cookies too, with holes in place of every value.
func redraft(t *try, x *dialect.Exchange, answer *http.Response, body []byte) (*learn.Draft, error) {
	like, err := example(t.d, x)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nHTTP/1.1 %d %s\n", console.CurlLine(like), answer.StatusCode, http.StatusText(answer.StatusCode))
	for name, values := range answer.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", body)
	return learn.Curl(b.String(), learn.Options{Name: t.d.Name})
}

// sayMore says what a good answer tells that the dialect does not read: when the
// token ends, or a refresh token.
func (a *app) sayMore(t *try, x *dialect.Exchange, answer *http.Response, body []byte) {
	if x != t.d.Login {
		return
	}
	draft, err := redraft(t, x, answer, body)
	if err != nil {
		return
	}
	learned, err := dialect.Parse(t.d.Name, draft.YAML())
	if err != nil {
		return
	}
	has := t.d.Understand(x, answer.StatusCode, answer.Header, body)
	var lines []string
	for _, f := range learned.Understand(learned.Login, answer.StatusCode, answer.Header, body) {
		if f.Fits && !f.Fixed && lasting(f.Want) {
			lines = append(lines, moreOf(t.d, has, f)...)
		}
	}
	if len(lines) > 0 {
		a.sayf("\nThe answer looks as if it said more; if the vendor's page agrees, write under `returns`:\n\n%s", strings.Join(lines, "\n"))
	}
}

// lasting reports whether a field is about how long a token lasts.
func lasting(want string) bool {
	return strings.Contains(want, "expires_") || strings.Contains(want, "$refresh_token")
}

// moreOf says what to write for a field, if the dialect has it otherwise or
// nothing of that kind.
func moreOf(d *dialect.Dialect, has []dialect.AnswerField, f dialect.AnswerField) []string {
	i := slices.IndexFunc(has, func(old dialect.AnswerField) bool { return old.Place == f.Place })
	if i >= 0 && has[i].Want != "" {
		old := has[i]
		if old.Fixed || old.Fits && unit(old.Want) == unit(f.Want) {
			return nil
		}
		return []string{fmt.Sprintf("%s: %s    # not %s", printable(f.Place), f.Want, printable(old.Want))}
	}
	about := "$expires_"
	if strings.Contains(f.Want, "$refresh_") {
		about = "$refresh_"
	}
	if about == "$refresh_" && (d.NoRefresh || d.Refresh != nil) || slices.ContainsFunc(has, func(old dialect.AnswerField) bool {
		return old.Fits && strings.Contains(old.Want, about)
	}) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s", printable(f.Place), f.Want)}
}

// unit is in what a field counts seconds.
func unit(want string) string {
	for _, codec := range []string{"$ms(", "$min(", "$hours(", "$unix_ms("} {
		if strings.Contains(want, codec) {
			return codec
		}
	}
	return ""
}

// hint says what a refusal often comes from.
func hint(d *dialect.Dialect, x *dialect.Exchange, refusal *jeton.Error, answer *http.Response) string {
	switch refusal.Code {
	case jeton.SlowDown:
		return "The vendor has had too many logins; wait" + after(refusal.RetryAfter) + ". A broker counts them: rate: in the dialect says how many it may make."
	case jeton.InvalidClient, jeton.InvalidGrant:
		how := "in the body; some vendors want them in HTTP Basic: basic: $client_id:$client_secret"
		if x.Basic() {
			how = "in HTTP Basic; some vendors want them in the body: form: {...}"
		}
		return "The vendor does not know these credentials, or looks for them elsewhere: the dialect sends them " + how + "."
	case jeton.InvalidRequest:
		if answer.StatusCode == http.StatusUnsupportedMediaType {
			return "The vendor wants another kind of body: form:, json: or xml:."
		}
		if answer.StatusCode/100 == 3 {
			return "The vendor answered with a redirect, which no login follows; compare the URL with its page, or give --origin."
		}
		if answer.StatusCode == http.StatusNotFound {
			return "There is no token endpoint at this path; compare the URL with the vendor's page."
		}
		return "The vendor misses something in the request, or finds too much; compare it with its page, field by field."
	case jeton.InvalidToken:
		return "The vendor took the login for a call without a good token; compare the URL with the vendor's page."
	case jeton.Unavailable:
		return "The vendor has a fault of its own; try again later."
	}
	return "The vendor refused with " + string(refusal.Code) + "."
}

func after(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return " " + d.Round(time.Second).String()
}
