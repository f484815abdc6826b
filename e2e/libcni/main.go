// The reference library as a program: it carries out the one call that stands on standard input, and
// prints what the library returns.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

type call struct {
	Verb         string               `json:"verb"`
	Conflist     string               `json:"conflist"`
	Path         []string             `json:"path"`
	Cache        string               `json:"cache"`
	ContainerID  string               `json:"containerID"`
	NetNS        string               `json:"netns"`
	IfName       string               `json:"ifname"`
	Args         [][2]string          `json:"args"`
	Capabilities map[string]any       `json:"capabilities"`
	Valid        []types.GCAttachment `json:"valid"`
}

func main() {
	var c call
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil {
		err = c.run(context.Background())
	}
	if err == nil {
		return
	}
	var answer *types.Error
	if !errors.As(err, &answer) {
		answer = &types.Error{Code: types.ErrInternal, Msg: err.Error()}
	}
	text, _ := json.Marshal(answer)
	fmt.Println(string(text))
	os.Exit(1)
}

func (c call) run(ctx context.Context) error {
	list, err := libcni.ConfListFromFile(c.Conflist)
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(c.Path, c.Cache, nil)
	runtime := &libcni.RuntimeConf{
		ContainerID: c.ContainerID, NetNS: c.NetNS, IfName: c.IfName,
		Args: c.Args, CapabilityArgs: c.Capabilities,
	}
	switch c.Verb {
	case "ADD":
		return printed(cni.AddNetworkList(ctx, list, runtime))
	case "CHECK":
		return cni.CheckNetworkList(ctx, list, runtime)
	case "CACHED":
		return printed(cni.GetNetworkListCachedResult(list, runtime))
	case "DEL":
		return cni.DelNetworkList(ctx, list, runtime)
	case "GC":
		return cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: c.Valid})
	case "STATUS":
		return cni.GetStatusNetworkList(ctx, list)
	case "VALIDATE":
		capabilities, err := cni.ValidateNetworkList(ctx, list)
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(capabilities)
		}
		return err
	default:
		return fmt.Errorf("%q is no call of libcni", c.Verb)
	}
}

func printed(result types.Result, err error) error {
	if err != nil || result == nil {
		return err
	}
	return result.PrintTo(os.Stdout)
}
