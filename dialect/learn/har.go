package learn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A har is what of an HTTP archive (HAR 1.2) matters here.
type har struct {
	Log struct {
		Entries []harEntry `json:"entries"`
	} `json:"log"`
}

type harEntry struct {
	Request struct {
		Method   string      `json:"method"`
		URL      string      `json:"url"`
		Headers  []harHeader `json:"headers"`
		PostData *struct {
			MimeType string      `json:"mimeType"`
			Text     string      `json:"text"`
			Params   []harHeader `json:"params"`
		} `json:"postData"`
	} `json:"request"`
	Response struct {
		Status  int         `json:"status"`
		Headers []harHeader `json:"headers"`
		Content struct {
			Text     string `json:"text"`
			Encoding string `json:"encoding"`
		} `json:"content"`
	} `json:"response"`
}

type harHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const maxHAR = 256 << 20

// HAR learns a dialect from an HTTP archive, as browsers and proxies write it:
// from the entry with that number, from 1, or, if entry is 0, from the one that
// looks like the login. A later entry that has the token shows how calls wear
// it.
func HAR(src []byte, entry int, o Options) (*Draft, error) {
	if len(src) > maxHAR {
		return nil, errors.New("learn: the archive is too large")
	}
	var h har
	if err := json.Unmarshal(src, &h); err != nil {
		return nil, errors.New("learn: the file is no HTTP archive (HAR): it is not JSON of that form")
	}
	if entry < 0 || entry > len(h.Log.Entries) {
		return nil, fmt.Errorf("learn: the archive has the entries 1 to %d", len(h.Log.Entries))
	}
	list, at := h.exchanges(entry)
	if at < 0 {
		return nil, errors.New("learn: no entry of the archive looks like a login; choose one with --entry")
	}
	d, err := newMaker(o).learn(around(list, at))
	if err != nil {
		return nil, fmt.Errorf("learn: entry %d: %w", list[at].request.line, err)
	}
	return d, nil
}

// exchanges reads the entries that can be read and finds the login: the chosen
// one, or the likeliest.
func (h *har) exchanges(entry int) ([]exchange, int) {
	var list []exchange
	for i, e := range h.Log.Entries {
		x, err := e.exchange()
		if err != nil {
			continue
		}
		x.request.line = i + 1
		list = append(list, x)
	}
	login, best := -1, 3
	for i, x := range list {
		if x.request.line == entry {
			return list, i
		}
		if entry != 0 || x.answer == nil || len(tokens(x.answer)) == 0 {
			continue
		}
		score := loginScore(x)
		if wearing(list[i+1:], x.answer) >= 0 {
			score += 4 // its token is used
		}
		if score > best {
			login, best = i, score
		}
	}
	return list, login
}

// wearing returns the place of the first request that has the token of an
// answer, or -1.
func wearing(list []exchange, a *answer) int {
	found := tokens(a)
	if len(found) == 0 {
		return -1
	}
	token := strings.TrimPrefix(found[0].text, "Bearer ")
	return slices.IndexFunc(list, func(e exchange) bool {
		wears := false
		e.request.texts(func(_, text string) { wears = wears || len(token) >= 6 && strings.Contains(text, token) })
		return wears && !isRefresh(e.request)
	})
}

// around keeps the login, what it uses of earlier answers, and the first call
// that wears the token.
func around(list []exchange, login int) []exchange {
	var kept []exchange
	for _, e := range list[:login] {
		if e.answer != nil && uses(list[login].request, e.answer) {
			kept = append(kept, e)
		}
	}
	kept = append(kept, list[login])
	if list[login].answer == nil {
		return kept
	}
	if i := wearing(list[login+1:], list[login].answer); i >= 0 {
		call := list[login+1+i]
		token := strings.TrimPrefix(tokens(list[login].answer)[0].text, "Bearer ")
		call.request.cookies = slices.DeleteFunc(call.request.cookies, func(c pair) bool { return c.text != token })
		kept = append(kept, call)
	}
	return kept
}

func (e harEntry) exchange() (exchange, error) {
	l := &line{url: []string{e.Request.URL}, method: strings.ToUpper(e.Request.Method)}
	for _, h := range e.Request.Headers {
		if !strings.HasPrefix(h.Name, ":") {
			l.headers = append(l.headers, h.Name+": "+h.Value)
		}
	}
	if p := e.Request.PostData; p != nil {
		for _, field := range p.Params {
			if p.Text == "" {
				l.data = append(l.data, pair{"=" + field.Name, field.Value})
			}
		}
		if p.Text != "" {
			l.data = append(l.data, pair{"", p.Text})
		}
	}
	r, err := l.request()
	if err != nil {
		return exchange{}, err
	}
	if r.header("Authorization") == "" && r.bearer == "" && loginScore(exchange{r, nil}) > 2 {
		r.cookies = nil // a browser sends what it has
	}
	a := &answer{status: e.Response.Status}
	for _, h := range e.Response.Headers {
		for value := range strings.SplitSeq(h.Value, "\n") {
			a.headers = append(a.headers, pair{h.Name, value})
		}
	}
	body := e.Response.Content.Text
	if e.Response.Content.Encoding == "base64" {
		if b, err := base64.StdEncoding.DecodeString(body); err == nil {
			body = string(b)
		}
	}
	if body == "" && len(a.headers) == 0 {
		return exchange{r, nil}, nil
	}
	a.readBody(&body)
	return exchange{r, a}, nil
}
