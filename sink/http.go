package sink

import (
	"errors"
	"io"
	"net/http"

	"github.com/jetonhq/jeton"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Send sends a request by a transport, nil being [http.DefaultTransport], and
// reads the answer. It follows no redirect. An error shows no URL.
func Send(by http.RoundTripper, r *http.Request) (*http.Response, []byte, error) {
	if by == nil {
		by = http.DefaultTransport
	}
	r.Header.Set("User-Agent", "jeton")
	answer, err := by.RoundTrip(r)
	if err != nil {
		return nil, nil, jeton.WithoutURL(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, jeton.WithoutURL(err)
	}
	if len(body) > maxAnswer {
		return nil, nil, errors.New("the answer is too large")
	}
	return answer, body, nil
}
