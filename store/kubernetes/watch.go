package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

const (
	// watchFor is how long the server is asked to keep a watch open. The next
	// one goes on behind it.
	watchFor = 5 * time.Minute

	// watchShort is the time within which a watch that ends and told nothing is
	// taken for one that does not work.
	watchShort = time.Second
)

// Watch implements [store.Watcher]. Changes that were made while the connection
// was broken are told when it is back.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	changed, err := s.feed.Watch(ctx, prefix)
	if err != nil {
		return nil, s.wrap(err)
	}
	return changed, nil
}

// listen hears of changes. A watch that ends goes on where it was; listen
// returns when it cannot, since the server has forgotten what came then.
func (s *Store) listen(ctx context.Context, up func()) error {
	query := s.selector("")
	query.Set("limit", "1")
	var now struct{ Metadata metadata }
	if err := s.api.do(ctx, http.MethodGet, "", query, nil, &now); err != nil {
		return err
	}
	for revision := now.Metadata.ResourceVersion; ; up = func() {} {
		began, before := time.Now(), revision
		if err := s.follow(ctx, &revision, up); err != nil {
			return err
		}
		if revision == before && time.Since(began) < watchShort {
			return errors.New("the server ends watches at once")
		}
	}
}

// follow tells the changes since a revision, which it moves, until the watch
// ends. It calls up when it hears of them.
func (s *Store) follow(ctx context.Context, revision *string, up func()) error {
	query := s.selector("")
	query.Set("watch", "1")
	query.Set("allowWatchBookmarks", "true")
	query.Set("resourceVersion", *revision)
	query.Set("timeoutSeconds", strconv.Itoa(int(watchFor.Seconds())))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(patience, cancel) // for the answer, then for its end
	defer late.Stop()
	answer, err := s.api.send(ctx, http.MethodGet, "", query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	late.Reset(watchFor + patience)
	up()
	for events := json.NewDecoder(answer.Body); ; {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if events.Decode(&e) != nil {
			return ctx.Err() // the time is up, or the connection broke
		}
		if e.Type == "ERROR" {
			var said status
			_ = json.Unmarshal(e.Object, &said)
			return refusalOf(said.Code, e.Object)
		}
		var o object
		if err := json.Unmarshal(e.Object, &o); err != nil {
			return errors.New("its answer is not what Kubernetes answers")
		}
		*revision = o.Metadata.ResourceVersion
		if e.Type != "BOOKMARK" {
			s.feed.Signal(string(o.Data["key"]))
		}
	}
}
