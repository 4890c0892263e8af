package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oaas-platform/oprc/crm/docker"
	"github.com/oaas-platform/oprc/crm/kubernetes"
)

func newLogs() *cobra.Command {
	var host string
	var follow bool
	var cluster kubernetes.ClusterOptions
	cmd := &cobra.Command{
		Use:   "logs REPLICA",
		Short: "Print what a replica prints, as `oprc logs` asks for it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], kubernetes.ReplicaPrefix) {
				c, err := kubernetes.Connect(cmd.Context(), cluster)
				if err != nil {
					return err
				}
				defer c.Close()
				return c.Logs(cmd.Context(), cmd.OutOrStdout(), args[0], follow)
			}
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
	bindCluster(cmd, &cluster)
	cmd.Flags().StringVar(&host, "host", "", "`address` of the container engine (default: DOCKER_HOST)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until it is stopped")
	return cmd
}
