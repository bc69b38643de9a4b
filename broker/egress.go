package broker

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
)

// VarsHeader is the header by which a call through the egress proxy chooses
// variables that only calls use, form-encoded: "service=events". It chooses no
// host, but among those that the dialect lists. The vendor does not see it.
const VarsHeader = "Jeton-Vars"

// Egress returns the egress proxy: /to/{account}/... is appended to the base
// URL of the account's API and sent with the token worn, and with the caller's
// own credentials dropped. A call that the vendor answers with "this token is
// not good" is sent once more with the next token, if its body is at most 1
// MiB; larger and streamed bodies pass through untouched. Without a token
// nothing is sent. Redirects go to the caller, who decides; the token does not
// follow them.
func (b *Broker) Egress() http.Handler {
	b.init()
	pool := new(buffers)
	return b.local(func(w http.ResponseWriter, r *http.Request, c *Caller) {
		account, path, err := egressPath(r.URL)
		if err != nil {
			writeProblem(w, problem{Status: http.StatusBadRequest, Title: "malformed path", Detail: err.Error()})
			return
		}
		if !granted(w, c, account) {
			return
		}
		way, source, err := b.egress(r, account)
		if err != nil {
			b.egressError(w, err)
			return
		}
		if err := buffered(r); err != nil {
			writeProblem(w, problem{Status: http.StatusBadRequest, Title: "the body could not be read"})
			return
		}
		r, span := b.traceCall(r, account, way.to)
		defer span.end()
		proxy := &httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = way.to.Scheme, way.to.Host, way.to.Host
				escaped := way.base + path
				p.Out.URL.RawPath = escaped
				p.Out.URL.Path, _ = url.PathUnescape(escaped)
				p.Out.URL.RawQuery = p.In.URL.RawQuery // ReverseProxy drops what Go does not parse
				p.Out.GetBody = r.GetBody
				for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", VarsHeader} {
					delete(p.Out.Header, name)
				}
				b.propagate(p.Out.Context(), p.Out.Header)
				if _, there := p.In.Header["User-Agent"]; !there {
					p.Out.Header.Set("User-Agent", "") // none, not Go's
				}
			},
			Transport:     source,
			BufferPool:    pool,
			FlushInterval: 10 * time.Millisecond, // of answers whose length is known; others pass at once
			ModifyResponse: func(answer *http.Response) error {
				b.metrics.called(account, answer.StatusCode)
				span.called(answer.StatusCode)
				return nil
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				b.metrics.called(account, 0)
				span.called(0)
				b.egressError(w, err)
			},
		}
		proxy.ServeHTTP(w, r)
	})
}

// buffers are those through which answers pass.
type buffers struct{ free sync.Pool }

// Get implements [httputil.BufferPool].
func (p *buffers) Get() []byte {
	if b, ok := p.free.Get().(*[32 << 10]byte); ok {
		return b[:]
	}
	return make([]byte, 32<<10)
}

// Put implements [httputil.BufferPool].
func (p *buffers) Put(b []byte) { p.free.Put((*[32 << 10]byte)(b)) }

// egressPath splits /to/{account}/rest. The path is canonical or refused: what
// the vendor gets is what was asked for, under the base and nowhere else.
func egressPath(u *url.URL) (account, path string, err error) {
	escaped := u.EscapedPath()
	rest, ok := strings.CutPrefix(escaped, "/to/")
	if !ok {
		return "", "", errors.New("the path is to be /to/{account}/{path}")
	}
	account, path, slash := strings.Cut(rest, "/")
	if slash {
		path = "/" + path
	}
	if account, err = url.PathUnescape(account); err != nil || account == "" {
		return "", "", errors.New("the path is to be /to/{account}/{path}")
	}
	if !strings.ContainsAny(path, `%\.`) && !strings.Contains(path, "//") {
		return account, path, nil // what follows finds nothing in these
	}
	lower := strings.ToLower(path)
	for _, bad := range []string{"%2f", "%5c", "%00", "\\", "//", "%252e", "%252f", "%255c"} {
		if strings.Contains(lower, bad) {
			return "", "", errors.New("the path holds " + bad + ", which servers read in different ways")
		}
	}
	for _, segment := range strings.Split(path, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil || strings.TrimRight(strings.Split(plain, ";")[0], " ") == ".." || plain == "." {
			return "", "", errors.New("the path holds a dot segment")
		}
	}
	return account, path, nil
}

// egress finds where the calls of an account go, with the variables that the
// call chooses.
func (b *Broker) egress(r *http.Request, account string) (*way, *Source, error) {
	k, err := b.keeper(r.Context(), account)
	if err != nil {
		return nil, nil, err
	}
	w, err := k.way(r.Context(), account)
	if err != nil {
		return nil, nil, err
	}
	source := b.Source(account, nil)
	source.own = true // ReverseProxy made them
	if text := r.Header.Get(VarsHeader); text != "" {
		if source.vars, err = chosen(w.account, text); err != nil {
			return nil, nil, err
		}
		w = w.with(source.vars)
	}
	if w, err = source.led(r.Context(), w); err != nil {
		return nil, nil, err
	}
	if w.bad != nil {
		return nil, nil, choiceError{w.bad.Error()}
	}
	return w, source, nil
}

// A choiceError says that a call chose a variable that it may not.
type choiceError struct{ text string }

func (e choiceError) Error() string { return e.text }

func chosen(a *Account, text string) (jeton.Vars, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, choiceError{VarsHeader + " is not form-encoded"}
	}
	vars, free := jeton.Vars{}, a.dialect().FreeVars()
	for name, list := range values {
		switch {
		case len(free) == 0:
			return nil, choiceError{"calls of this account have nothing to choose; leave out " + VarsHeader}
		case !slices.Contains(free, name) || len(list) != 1:
			return nil, choiceError{VarsHeader + " may choose " + strings.Join(free, ", ") + ", each once"}
		}
		vars[name] = list[0]
	}
	return vars, nil
}

func (b *Broker) egressError(w http.ResponseWriter, err error) {
	if choice, ok := errors.AsType[choiceError](err); ok {
		writeProblem(w, problem{Status: http.StatusBadRequest, Title: "variable not free", Detail: choice.text})
		return
	}
	_, latched := errors.AsType[*LatchedError](err)
	_, unavailable := errors.AsType[*UnavailableError](err)
	if latched || unavailable || errors.Is(err, ErrUnknownAccount) || errors.Is(err, context.Canceled) {
		b.writeError(w, err)
		return
	}
	b.Logger.Warn("a call through the egress proxy failed", "error", unreached(err))
	writeProblem(w, problem{Status: http.StatusBadGateway, Title: "the vendor's API could not be reached"})
}
