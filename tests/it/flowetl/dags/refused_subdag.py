from airflow import DAG
from airflow.operators.subdag_operator import SubDagOperator
