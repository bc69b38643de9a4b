package guard

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// What is read of the body of a call that was refused over HTTP/2, as package
// net/http does by itself over HTTP/1.1.
const (
	restMost     = 256 << 10
	restPatience = 5 * time.Second
)

// takeRest sends the answer that w has and reads what is left of the body of its
// call. Over HTTP/2 a server that is done with a stream resets it if the client
// still sends, and curl and other clients then lose the answer: they were to
// hear that the token is not good, and hear of an error of the connection.
func takeRest(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	c := http.NewResponseController(w)
	if c.Flush() != nil {
		return
	}
	var mu sync.Mutex // guards done: afterwards the stream is no longer ours
	done := false
	late := time.AfterFunc(restPatience, func() {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			_ = c.SetReadDeadline(time.Now()) // not before: some bodies set it anew with each read
		}
	})
	_, _ = io.CopyN(io.Discard, r.Body, restMost)
	late.Stop()
	mu.Lock()
	done = true
	mu.Unlock()
}

// lastOfConnection says that no other call follows. Over HTTP/2 a call has a
// stream of its own, and the connection is that of other calls, too.
func lastOfConnection(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
}
