package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// watchEvery is how often the files of dialects are looked at. A change is taken
// when it has stood for as long: a file that is being written is let be.
const watchEvery = time.Second

// watchDialects takes the user's dialects anew when their files change, until
// ctx ends. Of files that are not good it takes none.
func (s *server) watchDialects(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	used := s.config
	seen := used.catalogue.stamps
	last, bad := seen, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := used.catalogue.look()
		settled := maps.Equal(now, last)
		last = now
		if !settled || maps.Equal(now, seen) {
			continue
		}
		seen = now
		next, err := parseConfig(used.file, filepath.Dir(used.file), used.src)
		if err != nil {
			s.logger.Error("a dialect that changed is not taken; what was before stays", "err", inOneLine(err))
			bad = true
			continue
		}
		if bad {
			bad = false
			s.logger.Info("the dialects are good again")
		}
		s.takeDialects(ctx, used, next)
		used = next
	}
}

func inOneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// takeDialects gives everything that runs the dialects of the next configuration
// that differ from those of the one before. The two were read from one text.
func (s *server) takeDialects(ctx context.Context, before, next *config) {
	was, is := before.speakers(s), next.speakers(s)
	taken := map[string]int{}     // :: dialect -> how many took it
	refused := map[string]error{} // :: speaker -> why it did not
	for i, speaker := range is {
		if speaker.ref.src == was[i].ref.src {
			continue
		}
		err := refused[speaker.after]
		if err == nil {
			err = speaker.set(ctx, speaker.ref)
		}
		if err != nil {
			refused[speaker.name] = err
			s.logger.Warn("a dialect that changed is taken at the next start only", "dialect", speaker.ref.text, "of", speaker.name, "err", inOneLine(err))
			continue
		}
		taken[speaker.ref.text]++
	}
	for _, text := range slices.Sorted(maps.Keys(taken)) {
		s.logger.Info("a dialect changed", "dialect", text, "taken by", taken[text])
	}
}

// A speaker is what speaks a dialect: a realm, an upstream or an account.
type speaker struct {
	name  string
	after string // the speaker that must have taken it; empty: none
	ref   dialectRef
	set   func(context.Context, dialectRef) error
}

// speakers lists all of them, in the order of the file.
func (c *config) speakers(s *server) (list []speaker) {
	if c.issuer != nil {
		for _, r := range c.issuer.realms {
			list = append(list, speaker{"realm " + r.name, "", r.dialect, func(_ context.Context, d dialectRef) error {
				return s.issuer.SetDialect(r.name, d.Dialect)
			}})
		}
	}
	if c.guard != nil {
		for _, u := range c.guard.upstreams {
			realm, _ := c.realm(u.realm)
			ref, after := realm.dialect, "realm "+u.realm
			if u.from != nil {
				ref, after = u.from.dialect, ""
			}
			list = append(list, speaker{"upstream " + u.name, after, ref, func(_ context.Context, d dialectRef) error {
				i := slices.IndexFunc(s.guarded, func(g *guarded) bool { return g.upstream.name == u.name })
				if i < 0 {
					return fmt.Errorf("there is no upstream %s", u.name)
				}
				return s.guarded[i].setDialect(d.Dialect)
			}})
		}
	}
	if c.broker != nil {
		for _, a := range c.broker.accounts {
			list = append(list, speaker{"account " + a.name, "", a.dialect, func(ctx context.Context, d dialectRef) error {
				return s.broker.SetDialect(ctx, a.name, d.Dialect)
			}})
		}
	}
	return list
}
