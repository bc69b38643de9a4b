package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A CallVerifier decides about a whole call, for dialects where it is more than
// its token: it wears credentials of an account, is signed, or shows a
// certificate. What the token is bound to is compared too. Body is the whole body of
// a call that is signed, else nil. The claims are to be read, not changed.
//
// The error matches [jeton.InvalidToken] if the call is not good, may be
// [dialect.ErrNoCredentials], invalid_request or slow_down, and else means that it could
// not be decided.
type CallVerifier interface {
	VerifyCall(ctx context.Context, r *http.Request, body []byte) (*jeton.Claims, error)
}

// maxSigned bounds the body of a call that is signed, which has to be read
// before the call goes on.
const maxSigned = 1 << 20

// verifyCall asks the verifier about a whole call.
func (g *Guard) verifyCall(r *http.Request) (claims *jeton.Claims, err error) {
	by, ok := g.Verifier.(CallVerifier)
	if !ok {
		return nil, undecided(errors.New("guard: verify: the verifier cannot decide about whole calls"))
	}
	var body []byte
	if g.Dialect.Signs() {
		if body, err = signedBody(r); err != nil {
			return nil, err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			claims, err = nil, undecided(fmt.Errorf("guard: verify: panic: %v", p))
		}
	}()
	claims, err = by.VerifyCall(r.Context(), r, body)
	if e, ok := errors.AsType[*jeton.Error](err); ok && (e.Code == jeton.InvalidRequest || e.Code == jeton.SlowDown) || errors.Is(err, dialect.ErrNoCredentials) {
		return nil, err
	}
	return verified(claims, err)
}

// signedBody reads the body of a call and puts it back.
func signedBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > maxSigned {
		return nil, &http.MaxBytesError{Limit: maxSigned}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSigned+1))
	if err != nil {
		return nil, jeton.Refuse(jeton.InvalidRequest, "the body could not be read")
	}
	if len(body) > maxSigned {
		return nil, &http.MaxBytesError{Limit: maxSigned}
	}
	rest := r.Body
	r.Body = readCloser{bytes.NewReader(body), rest}
	return body, nil
}

// A readCloser reads from one and closes another.
type readCloser struct {
	io.Reader
	io.Closer
}
