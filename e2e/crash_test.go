package e2e_test

import (
	"net/url"
	"sync"
	"testing"
)

// A ledger is what clients of a server know at the moment of a crash: only what
// was answered counts, and what was asked without an answer may be either way.
type ledger struct {
	mu       sync.Mutex
	good     []message // calls whose tokens must be good; guarded by mu
	ended    []message // calls whose tokens must not be good; guarded by mu
	families []string  // newest refresh tokens that were answered; guarded by mu

	answers chan struct{} // one for each answer
	over    chan struct{} // closed when nobody reads answers any more
}

func (l *ledger) note(list *[]message, call message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*list = append(*list, call)
}

func (l *ledger) answered() {
	select {
	case l.answers <- struct{}{}:
	case <-l.over:
	}
}

// TestKillLosesNothing kills a server with SIGKILL in the middle of logins,
// refreshes and revocations, twice, and starts it again on what it left.
func TestKillLosesNothing(t *testing.T) {
	s := serve(t)
	l := &ledger{}
	for range 2 {
		l.answers, l.over = make(chan struct{}), make(chan struct{})
		var clients sync.WaitGroup
		for range 2 {
			clients.Go(func() { s.logInAgain(l, "alvys") })
			clients.Go(func() { s.logInAndRevoke(l) })
			clients.Go(func() { s.refreshAgain(l) })
		}
		clients.Go(func() { s.logInAlone(l) })
		for range 60 {
			<-l.answers
		}
		s.kill(t)
		close(l.over)
		clients.Wait()
		s.start(t)
		s.check(t, l)
	}
	if len(l.good) < 20 || len(l.ended) < 5 || len(l.families) != 4 {
		t.Errorf("the test saw too little: %d good tokens, %d ended ones, %d families", len(l.good), len(l.ended), len(l.families))
	}
	for _, token := range l.families {
		s.checkFamily(t, token)
	}
}

// logInAgain logs in until the server is gone.
func (s *served) logInAgain(l *ledger, realm string) {
	for {
		a, ok := s.try(s.logins[realm])
		if !ok {
			return
		}
		l.note(&l.good, s.calls[realm].worn(a.text("access_token")))
		l.answered()
	}
}

// logInAlone logs in where a new token ends the one before it.
func (s *served) logInAlone(l *ledger) {
	var before *message
	for {
		a, ok := s.try(s.logins["altrata"])
		if !ok {
			return // whether the last one was ended is not known
		}
		if before != nil {
			l.note(&l.ended, *before)
		}
		call := s.calls["altrata"].worn(a.text("access_token"))
		before = &call
		l.answered()
	}
}

// logInAndRevoke revokes every second token.
func (s *served) logInAndRevoke(l *ledger) {
	login := s.logins["oauth2"].withBody("grant_type=client_credentials")
	for {
		for _, revoke := range []bool{false, true} {
			a, ok := s.try(login)
			if !ok {
				return
			}
			l.answered()
			call := s.calls["oauth2"].worn(a.text("access_token"))
			if !revoke {
				l.note(&l.good, call)
				continue
			}
			if _, ok := s.try(login.with(func(m *message) {
				m.path, m.body = "/oauth2/revoke", "token="+url.QueryEscape(a.text("access_token"))
			})); !ok {
				return
			}
			l.note(&l.ended, call)
			l.answered()
		}
	}
}

// refreshAgain keeps one refresh family going.
func (s *served) refreshAgain(l *ledger) {
	a, ok := s.try(s.logins["web1on1"])
	newest := ""
	for ; ok; a, ok = s.try(refreshMessage(newest)) {
		newest = a.text("refreshToken")
		l.note(&l.good, s.calls["web1on1"].worn(a.text("token")))
		l.answered()
	}
	if newest != "" {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.families = append(l.families, newest)
	}
}

func refreshMessage(token string) message {
	return message{"POST", "/web1on1/v2/auth/token", "application/json", `{"refreshToken":"` + token + `","clientId":"ann@example.org"}`, nil}
}

// try sends a message and reports whether it was answered and done.
func (s *served) try(m message) (answer, bool) {
	header := m.header
	if m.contentType != "" {
		header = append(header[:len(header):len(header)], "Content-Type", m.contentType)
	}
	a, err := send(m.method, s.issuer+m.path, m.body, header...)
	return a, err == nil && a.status == 200
}

// check calls the APIs with everything that the clients remember.
func (s *served) check(t *testing.T, l *ledger) {
	t.Helper()
	for _, call := range l.good {
		if a := call.send(t, s.process); a.status != 200 {
			t.Errorf("a token that was answered before the crash: %s: %d %s", call.path, a.status, a.body)
		}
	}
	for _, call := range l.ended {
		if a := call.send(t, s.process); a.status != 401 {
			t.Errorf("a token that was ended before the crash: %s: %d", call.path, a.status)
		}
	}
}

// checkFamily uses a refresh token, which may have been spent by a request that
// the crash left without an answer, and then holds its family to the rules.
func (s *served) checkFamily(t *testing.T, token string) {
	t.Helper()
	second := refreshMessage(token).send(t, s.process).want(t, 200, "")
	third := refreshMessage(second.text("refreshToken")).send(t, s.process).want(t, 200, "")
	call := s.calls["web1on1"].worn(third.text("token"))
	call.send(t, s.process).want(t, 200, "")
	refreshMessage(token).send(t, s.process).want(t, 400, "") // spent, and its successor was used
	call.send(t, s.process).want(t, 403, "")
}
