"""What Airflow asks its secrets backend for, by name. A module of its own: ``places`` comes before Airflow, whose class this is one of."""

from airflow.secrets.base_secrets import BaseSecretsBackend

from . import places


class Files(BaseSecretsBackend):
    """Answers out of files."""

    def get_conn_value(self, conn_id, team_name=None):
        return places.connection(conn_id)

    def get_variable(self, key, team_name=None):
        return places.read(f"AIRFLOW_VAR_{key.upper()}")

    def get_config(self, key):
        made = places.MADE.get(key)
        return made() if made else places.read(key)
