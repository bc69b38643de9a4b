package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "status",
		Short: "Show how the broker's accounts are doing",
		Long: `Shows how each account is doing: the life of its token as a bar with a mark where it is
replaced, the next refresh, the generation, who logs in now, how many of the logins that
the vendor allows are used, and what went wrong last. The running broker is asked; if
there is none, the store is read.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(c.Context())
			}
			list, err := a.statuses(c.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(list)
			}
			return a.writeTable(statusRows(list, time.Now()))
		},
	})
	c.Flags().BoolVar(&watch, "watch", false, "draw it anew each second, on a terminal")
	return c
}

// watchStatus draws the table until ctx ends.
func (a *app) watchStatus(ctx context.Context) error {
	out, ok := a.out.(*os.File)
	if a.json || !ok || !term.IsTerminal(int(out.Fd())) {
		return usagef("--watch draws on a terminal; without one, ask again with --json")
	}
	for {
		list, err := a.statuses(ctx)
		if ctx.Err() != nil {
			return nil
		}
		_, _ = fmt.Fprint(a.out, "\x1b[H\x1b[2J") // home, and nothing on the screen
		if err != nil {
			_, _ = fmt.Fprintln(a.out, "jeton:", printable(err.Error()))
		} else if err := a.writeTable(statusRows(list, time.Now())); err != nil {
			return err
		}
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// statuses asks the running broker, else the store.
func (a *app) statuses(ctx context.Context) ([]broker.Status, error) {
	var answer struct {
		Accounts []broker.Status `json:"accounts"`
	}
	err := a.inspect(ctx, "", "/v1/accounts", &answer, func(b *broker.Broker) error {
		answer.Accounts = b.Status(ctx)
		return nil
	})
	return answer.Accounts, err
}

// inspect reads JSON from the running broker. If there is none it does the same
// through the store.
func (a *app) inspect(ctx context.Context, account, path string, answer any, here func(*broker.Broker) error) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	if c.broker == nil {
		return fmt.Errorf("%s declares no broker", c.file)
	}
	if err := readBroker(ctx, c.broker, account, path, answer); !errors.Is(err, errNoBroker) {
		return err
	}
	s, err := openShared(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := newBroker(c.broker.accounts, s, nil)
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	return here(b)
}

// readBroker reads a JSON answer of the running broker.
func readBroker(ctx context.Context, c *brokerConfig, account, path string, to any) error {
	key, err := c.ownKey(account)
	if err != nil {
		return err
	}
	client, base := c.listen.client()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return err
	}
	if !key.IsZero() {
		r.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	answer, err := client.Do(r)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
			return errNoBroker
		}
		return fmt.Errorf("ask the broker at %s: %w", c.listen.text, jeton.WithoutURL(err))
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64*maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the broker at %s: %w", c.listen.text, jeton.WithoutURL(err))
	}
	if answer.StatusCode != http.StatusOK {
		return brokerError(c.listen, answer, body)
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("what listens on %s is no broker of this version", c.listen.text)
	}
	return nil
}

// statusRows makes a table of statuses.
func statusRows(list []broker.Status, now time.Time) [][]string {
	rows := [][]string{{"ACCOUNT", "STATE", "LIFE", "EXPIRES", "REFRESH", "GEN", "LOGINS", "NOTE"}}
	for _, s := range list {
		rows = append(rows, []string{
			s.Account, s.State, lifeBar(s, now), remaining(s.ExpiresAt, now), remaining(s.RefreshAt, now), fmt.Sprint(s.Generation),
			budgetText(s.Budgets), statusNote(s, now),
		})
	}
	return rows
}

// barWidth is how many cells the life of a token has.
const barWidth = 20

// lifeBar draws what is left of a token's life, and where it is replaced.
func lifeBar(s broker.Status, now time.Time) string {
	if s.ObtainedAt == nil || s.ExpiresAt == nil || !s.ExpiresAt.After(*s.ObtainedAt) {
		return ""
	}
	life := s.ExpiresAt.Sub(*s.ObtainedAt)
	cell := func(t time.Time) int {
		return max(0, min(barWidth, int(float64(barWidth)*float64(t.Sub(*s.ObtainedAt))/float64(life))))
	}
	bar := []byte(strings.Repeat(".", cell(now)) + strings.Repeat("=", barWidth-cell(now)))
	if s.RefreshAt != nil {
		bar[min(cell(*s.RefreshAt), barWidth-1)] = '|'
	}
	return "[" + string(bar) + "]"
}

// remaining says how long it is to an instant.
func remaining(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	d := t.Sub(now)
	switch {
	case d <= 0:
		return "now"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	}
	return durationText(d.Truncate(time.Minute))
}

// budgetText shows the budget of which least is left.
func budgetText(budgets []broker.Budget) string {
	var tightest *broker.Budget
	for i, b := range budgets {
		if tightest == nil || b.Allowed-b.Used < tightest.Allowed-tightest.Used {
			tightest = &budgets[i]
		}
	}
	if tightest == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d", tightest.Used, tightest.Allowed)
}

// statusNote says what a person has to know.
func statusNote(s broker.Status, now time.Time) string {
	var notes []string
	if s.Latched != "" {
		notes = append(notes, "the vendor said "+string(s.Latched))
	}
	if s.HandingOver {
		notes = append(notes, "handing over: "+s.Holder)
	} else if s.Holder != "" {
		notes = append(notes, "logging in: "+s.Holder)
	}
	if s.PermissionProblem {
		notes = append(notes, "the API rejects fresh tokens")
	}
	if s.RetryAt != nil {
		notes = append(notes, "next try in "+remaining(s.RetryAt, now))
	}
	if s.LastError != "" && s.Latched == "" {
		notes = append(notes, s.LastError)
	}
	return strings.Join(append(notes, sinkNotes(s)...), "; ")
}
