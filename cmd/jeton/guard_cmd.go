package main

import "github.com/spf13/cobra"

func (a *app) guardCommand() *cobra.Command {
	return group(&cobra.Command{Use: "guard", Short: "Try what guards an API"}, a.guardLintCommand())
}
