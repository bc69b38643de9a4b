package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/broker"
)

func (a *app) whyCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "why ACCOUNT",
		Short: "Explain the last logins of an account",
		Long: `Explains the last logins and refreshes of an account, by any broker of the fleet, the
oldest first: who asked, which generation it replaced and brought, which rule of the
broker brought it about, and what came of it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAccounts,
		RunE: func(c *cobra.Command, args []string) error {
			events, err := a.history(c.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(events)
			}
			rows := [][]string{{"AT", "WHAT", "GENERATION", "TOOK", "OUTCOME", "WHY", "BROKER"}}
			for _, e := range events {
				generation := fmt.Sprintf("%d -> -", e.Replaces)
				if e.Generation != 0 {
					generation = fmt.Sprintf("%d -> %d", e.Replaces, e.Generation)
				}
				rows = append(rows, []string{stamp(e.At), e.Kind, generation,
					(time.Duration(e.Took) * time.Millisecond).String(), e.Outcome, e.Rule(), e.By})
			}
			return a.writeTable(rows)
		},
	})
}

// history asks the running broker, else the store.
func (a *app) history(ctx context.Context, name string) ([]broker.Event, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	if _, err := c.account(name); err != nil {
		return nil, err
	}
	var answer struct {
		History []broker.Event `json:"history"`
	}
	err = a.inspect(ctx, name, "/v1/accounts/"+url.PathEscape(name)+"/history", &answer, func(b *broker.Broker) (err error) {
		answer.History, err = b.History(ctx, name)
		return err
	})
	return answer.History, err
}
