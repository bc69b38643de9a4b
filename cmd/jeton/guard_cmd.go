package main

import "github.com/spf13/cobra"

func (a *app) guardCommand() *cobra.Command {
	return group(&cobra.Command{Use: "guard", Short: "Explain what a guard decides, and try what stands in front of an API"},
		a.guardExplainCommand(), a.guardRoutesCommand(), a.guardLintCommand())
}
