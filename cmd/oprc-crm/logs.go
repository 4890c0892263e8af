package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/crm/docker"
)

func newLogs() *cobra.Command {
	var host string
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs REPLICA",
		Short: "Print what a replica prints, as `oprc logs` asks for it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := docker.New(cmd.Context(), docker.Options{Host: host})
			if err != nil {
				return err
			}
			defer func() { _ = d.Close() }()
			if err := d.Logs(cmd.Context(), cmd.OutOrStdout(), args[0], follow); err != nil {
				return fmt.Errorf("replica %s: %w", args[0], err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "`address` of the container engine (default: DOCKER_HOST)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it is stopped")
	return cmd
}
