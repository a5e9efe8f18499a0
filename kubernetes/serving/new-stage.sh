#!/bin/bash
# Writes kubernetes/stages/NAME: a further stage to deploy to, as kubernetes/serving is for staging.
# usage: bash kubernetes/serving/new-stage.sh NAME [--runs NAMESPACE] [--runs-account NAME]
#   --runs, --runs-account   namespace and service account of runs on Kubeflow that deploy to it, if not staging's
# Prints what to apply; changes no cluster.
set -euo pipefail
usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }

stage="" changes=()
change() { # a field of the second subject, and its value
    changes+=("      - {op: replace, path: /subjects/1/$1, value: ${2:?}}")
}
check() {
    [[ "$1" =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] && return
    echo "'$1' is no name of a namespace or an account" >&2
    usage
}
while [ $# -gt 0 ]; do
    case "$1" in
    --runs) check "${2:-}"; change namespace "$2"; shift ;;
    --runs-account) check "${2:-}"; change name "$2"; shift ;;
    -*) usage ;;
    *) [ -z "$stage" ] || usage; check "$1"; stage="$1" ;;
    esac
    shift
done
[ -n "$stage" ] || usage

# The patch of a binding: other lines, then those for the account of the runs; none without any.
patch() {
    kind="$1" name="$2"
    shift 2
    [ $# -gt 0 ] || return 0
    printf '  - target: {kind: %s, name: %s}\n    patch: |\n' "$kind" "$name"
    printf '%s\n' "$@"
}

cd "$(dirname "$0")/../.."
folder="kubernetes/stages/$stage"
mkdir -p "$folder/cluster"
{
    cat <<END
# The stage $stage, made by new-stage.sh; $folder/cluster is applied before it.
# A stage's own settings go below: images, the gateway (service.yaml), the ports of the model store.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $stage
resources:
  - ../../serving
END
    [ ${#changes[@]} = 0 ] || echo "patches:"
    patch RoleBinding nbship-deployer ${changes[@]+"${changes[@]}"}
} >"$folder/kustomization.yaml"
own="      - {op: replace, path: /subjects/0/namespace, value: $stage}"
{
    cat <<END
# What an administrator applies for the stage $stage, made by new-stage.sh.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../../serving/cluster
patches:
  - target: {kind: Namespace, name: staging}
    patch: |
      - {op: replace, path: /metadata/name, value: $stage}
END
    for binding in "RoleBinding nbship-settings" "ClusterRoleBinding nbship-runtimes"; do
        read -r kind name <<<"$binding"
        patch "$kind" "$name-staging" "$own" ${changes[@]+"${changes[@]}"} \
            "      - {op: replace, path: /metadata/name, value: $name-$stage}"
    done
} >"$folder/cluster/kustomization.yaml"
echo "wrote $folder; next:"
echo "  kubectl apply -k $folder/cluster    # by an administrator"
echo "  kubectl apply -k $folder"
echo "  deploy.stages in the pipeline file: $stage: {namespace: $stage}"
